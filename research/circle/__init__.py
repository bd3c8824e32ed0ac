"""Finding one circle: data, network, training by several processes, and what the usual first attempt gets wrong."""
