"""What the nodes do when things go wrong: inputs that no one should send, faults on the way, two hundred runs."""
