"""What a network is as it is brought: its wrappers, program, input, architecture and weights."""
