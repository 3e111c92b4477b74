"""Inputs that find bugs which plain random ones miss, and what their outcomes mean."""
