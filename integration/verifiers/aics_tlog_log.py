"""Verifies an exported log with aics-tlog: its checkpoint, every tile and every entry bundle."""

import pathlib
import sys

from aics_tlog import FileSystemTileReader, audit_tiles, parse_note, parse_vkey, verify_checkpoint

folder, key = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
vkey = parse_vkey(key.read_text().strip())
verified = verify_checkpoint(parse_note((folder / "checkpoint").read_bytes().decode()), vkey)
if not verified.ok:
    sys.exit(f"the checkpoint: {verified}")
report = audit_tiles(FileSystemTileReader(folder), verified.size, verified.root)
if report.bundles != (verified.size + 255) // 256:
    sys.exit("not every bundle was read")
print(report.size)
