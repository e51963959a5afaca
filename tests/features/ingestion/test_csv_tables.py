"""CSV as people really have it, byte for byte."""

import codecs
import gzip
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from features.ingestion.csv_tables import read_csv
from features.ingestion.data_error import DataError


def written(folder: Path, content: bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def read(folder: Path, content: bytes) -> pl.DataFrame:
    return read_csv(written(folder, content))


def test_the_second_of_two_header_rows_names_the_columns(tmp_path: Path) -> None:
    frame = read(tmp_path, b",X1,Y\nID,LIMIT_BAL,default payment next month\n1,20000,1\n2,5,0\n")

    assert frame.columns == ["ID", "LIMIT_BAL", "default payment next month"]
    assert frame.rows() == [(1, 20000, 1), (2, 5, 0)]


def test_a_first_row_of_text_is_not_taken_for_names(tmp_path: Path) -> None:
    frame = read(tmp_path, b"name,city\nana,lima\nbo,oslo\n")

    assert frame.rows() == [("ana", "lima"), ("bo", "oslo")]


def test_a_nameless_index_column_is_numbered_and_kept(tmp_path: Path) -> None:
    frame = read(tmp_path, b',a,b\n"0",x,1\n"1",y,2\n')

    assert frame.columns == ["unnamed_1", "a", "b"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_gives_the_same_table(tmp_path: Path, end: bytes) -> None:
    frame = read(tmp_path, b"a,b" + end + b"1,x" + end + b"2,y")

    assert frame.rows() == [(1, "x"), (2, "y")]


def test_quoted_numbers_are_numbers(tmp_path: Path) -> None:
    frame = read(tmp_path, b'"Amount","Class"\n2.5,"0"\n"3","1"\n')

    assert frame.rows() == [(2.5, 0), (3.0, 1)]
    assert frame.schema == {"Amount": pl.Float64, "Class": pl.Int64}


def test_scientific_notation_deep_in_an_integer_column_is_a_number(tmp_path: Path) -> None:
    lines = [str(i) for i in range(5_000)] + ["1e+05"]

    frame = read(tmp_path, ("Time\n" + "\n".join(lines)).encode())

    assert frame["Time"].dtype == pl.Float64
    assert frame["Time"][-1] == 100_000.0


@pytest.mark.parametrize("missing", ["", "NA", "N/A", "NaN", "null", "\\N", '"NA"', '""'])
def test_a_missing_number_is_null(tmp_path: Path, missing: str) -> None:
    frame = read(tmp_path, f"a,b\n1,x\n{missing},y\n".encode())

    assert frame["a"].to_list() == [1, None]
    assert frame["a"].dtype == pl.Int64


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ],
)
def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path, mark: bytes, encoding: str) -> None:
    frame = read(tmp_path, mark + "größe,b\n1,2\n".encode(encoding))

    assert frame.columns == ["größe", "b"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_header_tells_the_separator(tmp_path: Path, separator: str) -> None:
    text = f'"a,;b"{separator}c\n1{separator}"x,;y"\n'

    assert read(tmp_path, text.encode()).rows() == [(1, "x,;y")]


@pytest.mark.parametrize("text", ["0042", "123456789012345678901234567890", "0x10", "1 000"])
def test_what_a_number_would_lose_stays_text(tmp_path: Path, text: str) -> None:
    frame = read(tmp_path, f"a,b\n{text},1\n7,2\n".encode())

    assert frame["a"].to_list() == [text, "7"]


def test_truth_in_any_case_is_boolean(tmp_path: Path) -> None:
    assert read(tmp_path, b"a,b\nTrue,1\nfalse,2\nNA,3\n")["a"].to_list() == [True, False, None]


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    frame = read(tmp_path, b"a,b\n\n1,x\n\n  \n2,y\n\n\n")

    assert frame.rows() == [(1, "x"), (2, "y")]


def test_a_row_of_missing_values_is_a_row(tmp_path: Path) -> None:
    assert read(tmp_path, b"a,b\n,\n1,x\n").rows() == [(None, None), (1, "x")]


def test_a_field_may_hold_a_line_end(tmp_path: Path) -> None:
    assert read(tmp_path, b'a,b\n1,"x\ny"\n2,z\n')["b"].to_list() == ["x\ny", "z"]


@pytest.mark.parametrize("text", ['a,b,c\n1,5" pipe,2\n3,x,4\n', 'a,b,c\n1,5" pipe,2\n3,6" x,4\n'])
def test_a_quote_inside_a_field_swallows_no_row(tmp_path: Path, text: str) -> None:
    frame = read(tmp_path, text.encode())

    assert frame.height == 2
    assert frame["b"][0] == '5" pipe'


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_files_are_read(tmp_path: Path, suffix: str) -> None:
    content = "a,b\n1,ä\n2,y\n".encode()
    packed = (
        gzip.compress(content)
        if suffix == ".gz"
        else pa.compress(content, codec="zstd", asbytes=True)
    )

    frame = read_csv(written(tmp_path, packed, f"t.csv{suffix}"))

    assert frame.rows() == [(1, "ä"), (2, "y")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n1,2,3\n", "line 3 has 3 fields, the header has 2"),
        (b"a,b\n1,2\n1\n", "line 3 has 1 fields, the header has 2"),
        (b'a,b\n"x\ny",2\n1,2,3\n', "line 4 has 3 fields, the header has 2"),
        (b"a,b\r1,2\r1,2,3\r", "line 3 has 3 fields, the header has 2"),
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"a,b\n", "has a header (2 columns) but no rows"),
        (b"a,b\n\n\n", "has a header (2 columns) but no rows"),
        (b"a,b,a\n1,2,3\n", "names 1 column(s) twice: 'a'"),
        (b",\n1,2\n", "has no header"),
        (b"a,b\n1,stra\xdfe\n", "line 2 is not UTF-8 (byte 0xdf)"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError) as refusal:
        read(tmp_path, content)

    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_cut_gzip_file_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"a,b\n" + b"1,2\n" * 1_000)

    with pytest.raises(DataError, match="Cannot decompress"):
        read_csv(written(tmp_path, whole[:-20], "t.csv.gz"))


@pytest.mark.parametrize(
    ("file", "twin"),
    [
        ("credit_default.csv.gz", "credit_default.parquet"),
        ("loan_data.csv", "loan_data.parquet"),
    ],
)
def test_a_real_csv_equals_its_parquet_twin(data_root: Path, file: str, twin: str) -> None:
    """Two header rows in the one, carriage returns alone in the other."""
    assert_frame_equal(read_csv(data_root / file), pl.read_parquet(data_root / twin))


def test_the_real_card_lines_equal_rows_of_their_parquet_twin(data_root: Path) -> None:
    """Quoted labels, and ``1e+05`` in a column of whole seconds."""
    lines = read_csv(data_root / "creditcard_head.csv")

    twin = pl.scan_parquet(data_root / "creditcard.parquet")
    found = twin.join(lines.lazy(), on=lines.columns, how="semi").collect()
    assert lines.unique().height == found.unique().height
    assert lines.schema == found.schema
    assert 100_000.0 in lines["Time"]
