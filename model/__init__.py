"""The vocabulary shared by every part of ciliate. Standard library only, no I/O."""
