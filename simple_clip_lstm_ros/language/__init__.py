"""Interpretation of an instruction: a text for the model, a stop or a refusal. Pure Python."""
