"""The findings report, from the results of the other studies."""
