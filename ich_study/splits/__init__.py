"""Patients to parts: written once, hashed, checked for overlap."""
