"""LSE-UNet: score maps pooled by log-sum-exp, consistency loss, Algorithm 1."""
