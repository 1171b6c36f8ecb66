"""Files to policy and back: open, describe, compare, load, synthesise."""
