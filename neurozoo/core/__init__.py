"""The words of the zoo: neurons, layers, batches, models; and the equations, once."""
