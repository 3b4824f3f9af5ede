"""Reports for people: tables of functions and flame graphs."""
