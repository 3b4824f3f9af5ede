"""What people look at: tables of functions, flame graphs."""
