"""The papers' printed tables, each cell with its source, and the claims made from them."""
