"""The two safety-relevant nodes: the inference node and the velocity guard."""
