"""Ways to say how well an output agrees, by what it is: one module a metric, found by being there."""
