"""The two safety-relevant processes: the inference node and the velocity guard."""
