"""Load, soak, scale: how fast the platform is, beside bare twins that answer the same in the same run."""
