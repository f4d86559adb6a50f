"""Modules for any model: attention, dropout, neuron choices, sequences, running means."""
