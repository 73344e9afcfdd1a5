"""Configurations that come with amarl_jax."""
