"""The data sources: one data module for each kind of data and of file."""
