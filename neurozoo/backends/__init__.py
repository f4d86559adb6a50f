"""Who runs a neuron, and when two that run one agree."""
