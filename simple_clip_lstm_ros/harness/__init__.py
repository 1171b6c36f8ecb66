"""Runs the real nodes on a workstation: with a simulated robot, photographs or a bag."""
