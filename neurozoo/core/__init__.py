"""The words of the zoo: signals, tasks, neurons, layers, models. Every other room is built from them."""
