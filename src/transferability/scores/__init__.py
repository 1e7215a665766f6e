"""The field's transferability scores, one file each."""
