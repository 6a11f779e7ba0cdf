"""Data sets of images: the known ones (digits, MNIST, CIFAR, ...) and your own folders."""
