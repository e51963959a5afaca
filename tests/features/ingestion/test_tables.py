"""Reading tables of every format, refusing the rest in one line, and fingerprints."""

import gzip
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from features.ingestion.data_error import DataError
from features.ingestion.tables import fingerprint, read_table, scan_table
from infra.storage import sha256_file

TABLE = pl.DataFrame({"id": [1, 2, 3], "amount": [1.5, None, 2.0], "city": ["Łódź", "b", None]})


def write(path: Path) -> Path:
    """Write ``TABLE`` in the format that the name says."""
    lines = TABLE.write_ndjson().encode()
    writers = {
        ".parquet": lambda: TABLE.write_parquet(path),
        ".csv": lambda: TABLE.write_csv(path),
        ".tsv": lambda: TABLE.write_csv(path, separator="\t"),
        ".arrow": lambda: TABLE.write_ipc(path),
        ".feather": lambda: TABLE.write_ipc_stream(path),
        ".jsonl": lambda: path.write_bytes(lines),
        ".ndjson": lambda: path.write_bytes(b"\xef\xbb\xbf" + lines),
        ".gz": lambda: path.write_bytes(gzip.compress(lines)),
    }
    writers[path.suffix]()
    return path


FORMATS = [
    "t.parquet", "t.csv", "t.tsv", "t.arrow", "t.feather", "t.jsonl", "t.ndjson", "t.jsonl.gz",
]  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_table(tmp_path: Path, name: str) -> None:
    assert_frame_equal(read_table(write(tmp_path / name)), TABLE)


@pytest.mark.parametrize("name", ["a[1]*?.parquet", "a[1].arrow", "a[1].feather", "a*.csv"])
def test_a_name_is_no_pattern(tmp_path: Path, name: str) -> None:
    write(tmp_path / f"a1{Path(name).suffix}")
    path = write(tmp_path / name)

    assert read_table(path).height == 3


@pytest.mark.parametrize("name", ["T.CSV.GZ", "T.PARQUET"])
def test_endings_may_be_capitals(tmp_path: Path, name: str) -> None:
    packed = gzip.compress(TABLE.write_csv().encode())
    path = tmp_path / name
    path.write_bytes(packed) if name.endswith(".GZ") else TABLE.write_parquet(path)

    assert_frame_equal(read_table(path), TABLE)


def test_a_file_far_away_is_refused() -> None:
    with pytest.raises(DataError, match="s3:// is not read. Download it"):
        read_table("s3://bucket/t.parquet")


@pytest.mark.parametrize("name", FORMATS)
def test_columns_come_in_the_order_asked_for(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)

    assert read_table(path, columns=["city", "id"]).columns == ["city", "id"]
    assert read_table(path, columns=lambda names: sorted(names)[:2]).columns == ["amount", "city"]
    assert scan_table(path).select("amount").collect().to_series().sum() == 3.5


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no column 'town'"):
        read_table(write(tmp_path / "t.parquet"), columns=["id", "town"])


def cut_parquet(folder: Path) -> Path:
    path = write(folder / "cut.parquet")
    path.write_bytes(path.read_bytes()[:-30])
    return path


def spoilt_parquet(folder: Path) -> Path:
    """A whole footer over a page that is not what it says."""
    path = folder / "spoilt.parquet"
    pl.DataFrame({"a": range(10_000)}).write_parquet(path)
    content = bytearray(path.read_bytes())
    content[30:70] = bytes(40)
    path.write_bytes(content)
    return path


def written(content: bytes, name: str) -> Callable[[Path], Path]:
    def write_into(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write_into


def empty_parquet(folder: Path) -> Path:
    TABLE.head(0).write_parquet(folder / "empty.parquet")
    return folder / "empty.parquet"


def parquet_named_csv(folder: Path) -> Path:
    return write(folder / "t.parquet").rename(folder / "t.csv")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nowhere.csv", "There is no file"),
        (lambda folder: folder, "is a folder"),
        (cut_parquet, "cut off or damaged"),
        (spoilt_parquet, "cut off or damaged"),
        (written(b"", "t.parquet"), "is empty"),
        (written(b"", "t.csv"), "is empty"),
        (written(b"", "t.jsonl"), "is empty"),
        (empty_parquet, "holds no rows (3 columns)"),
        (written(b"a,b\n1,2\n", "t.txt"), "unknown format (.txt)"),
        (written(b"a,b\n1,2\n", "t"), "unknown format (no ending)"),
        (written(b"a,b\n1,2\n", "t.parquet.gz"), "unknown format (.parquet.gz)"),
        (written(b"PK\x03\x04rest", "t.xlsx"), "unknown format (.xlsx)"),
        (written(b"PK\x03\x04rest", "t.csv"), "holds Excel or zip data"),
        (written(gzip.compress(b"a\n1"), "t.csv"), "Rename it to end in .gz"),
        (parquet_named_csv, "named .csv but holds Parquet data. Rename it to end in .parquet"),
        (written(b"a,b\n1,2\n", "t.parquet"), "Cannot read"),
        (written(b"a,b\n1,2\n", "t.csv.gz"), "Cannot decompress"),
        (written(b"a,b\n1,2\n", "t.arrow"), "Cannot read"),
        (written(b'{"a": 1}\n{"a": 2\n', "t.jsonl"), "line 2 is not valid JSON"),
        (written(b'{"a": 1}\n[1]\n', "t.jsonl"), "line 2 is not a JSON object but list"),
    ],
)  # fmt: skip
def test_a_bad_source_is_refused_in_one_line(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(DataError) as refusal:
        read_table(make(tmp_path))

    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    """A link to itself cannot be opened by anybody, not even by root."""
    path = tmp_path / "t.csv"
    path.symlink_to(path)

    with pytest.raises(DataError, match="Cannot read"):
        read_table(path)


def test_json_lines_may_hold_what_python_writes_for_missing_numbers(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1.5, "b": "x"}\n\n{"a": NaN}\n')

    assert read_table(path)["b"].to_list() == ["x", None]


def test_a_fingerprint_follows_the_bytes_and_not_the_folder(tmp_path: Path) -> None:
    first = fingerprint(write(tmp_path / "t.csv"))
    (tmp_path / "other").mkdir()
    second = fingerprint(write(tmp_path / "other" / "t.csv"))

    assert first == second
    assert (first.name, first.rows, first.columns) == ("t.csv", 3, 3)
    assert first.sha256 == sha256_file(tmp_path / "t.csv")


def test_a_fingerprint_of_a_frame_in_hand_reads_only_the_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet")

    assert fingerprint(path, frame=TABLE) == fingerprint(path)
