"""The rows of the tables of claims: what each trains, draws and is judged by."""
