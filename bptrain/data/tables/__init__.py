"""Tables of numbers and categories: CSV and Parquet files with a column to predict."""
