"""What a collection of a billion images takes, and what failures, slow machines and unequal cells add to it."""
