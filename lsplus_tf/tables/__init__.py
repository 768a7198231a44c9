"""Tables as people have them: one reader, for labels and for predictions.

A table is a text file whose cells commas, semicolons, tabs or vertical bars separate; where it is
no comma, or cells are quoted, numbers may have a decimal comma. Or it is a Parquet file
(`.parquet`), JSON (`.json`, a list of objects, or `.jsonl`, one in a line), or the first sheet of
an Excel file (`.xlsx`) that is shown. Each may be packed by gzip (`.csv.gz`).

What a file certainly means is taken; what of it was changed is said in one warning. Text is in
UTF-8, or in UTF-16 with a byte-order mark, or else taken for Latin-1. Blanks around cells are
removed, "12" and "12.0" in one column are one value, and so are two Unicode forms of one text.
Cells that are empty, "nan" or "NaN" have no value; nor have "NA", "None" and their like in columns
of numbers.
"""

from lsplus_tf.tables.names import class_order, listed, one_form, spelled_alike
from lsplus_tf.tables.opening import open_table
from lsplus_tf.tables.rows import Rows
from lsplus_tf.tables.table import Table

__all__ = ["Rows", "Table", "class_order", "listed", "one_form", "open_table", "spelled_alike"]
