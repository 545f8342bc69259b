"""Tables: JSON lines, CSV, TSV, Parquet and npz, read as a stream of rows of plain values."""
