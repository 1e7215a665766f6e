"""How numbers are shown: formats, columns, plots and notebook tables. Takes plain rows; knows no result objects."""
