"""A simulated world: layouts, experts, rollouts, phrases, perturbations and map plots."""
