"""What backends share that run the whole loop over time as one: a neuron, two operators of torch, tensors as memory."""
