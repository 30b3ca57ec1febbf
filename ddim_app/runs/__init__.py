"""What can be run: recipes, their plans, and the forms that they are given, kept and shared in."""
