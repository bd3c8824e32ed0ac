"""What the program, the plots and the page make of the example photos."""
