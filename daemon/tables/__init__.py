"""Rows to files: tables for spreadsheets, for data frames and for programs that annotate sound."""
