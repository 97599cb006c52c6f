// Verifies an exported log with golang.org/x/mod/sumdb: its checkpoint with package note, every hash of every tile and
// every entry with package tlog. What is here is only where the files are.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// The tiles of a folder. The library's paths have the tiles' height in front, which is always 8, and another word for entries.
type folder string

func (f folder) path(tile tlog.Tile) string {
	path := strings.TrimPrefix(tile.Path(), "tile/8/")
	if rest := strings.TrimPrefix(path, "data/"); rest != path {
		path = "entries/" + rest
	}
	return filepath.Join(string(f), "tile", path)
}

func (f folder) Height() int { return 8 }

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(f.path(tile))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func main() {
	log := folder(os.Args[1])
	vkey, err := os.ReadFile(os.Args[2])
	check(err)
	verifier, err := note.NewVerifier(strings.TrimSpace(string(vkey)))
	check(err)
	text, err := os.ReadFile(filepath.Join(string(log), "checkpoint"))
	check(err)
	opened, err := note.Open(text, note.VerifierList(verifier))
	check(err)
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		check(fmt.Errorf("the checkpoint is no head of %s", verifier.Name()))
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	root, err := tlog.ParseHash(lines[2])
	check(err)

	hashes := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, log)
	for first := int64(0); first < size; first += 256 {
		width := size - first
		if width > 256 {
			width = 256
		}
		bundle, err := os.ReadFile(log.path(tlog.Tile{H: 8, L: -1, N: first / 256, W: int(width)}))
		check(err)
		// The library gives no hash of a tile that it did not verify up to the root.
		var indexes []int64
		for n := first; n < first+width; n++ {
			indexes = append(indexes, tlog.StoredHashIndex(0, n))
		}
		expected, err := hashes.ReadHashes(indexes)
		check(err)
		for i := range expected {
			if len(bundle) < 2 || len(bundle) < 2+int(binary.BigEndian.Uint16(bundle)) {
				check(fmt.Errorf("the bundle of entry %d is too short", first+int64(i)))
			}
			end := 2 + int(binary.BigEndian.Uint16(bundle))
			if tlog.RecordHash(bundle[2:end]) != expected[i] {
				check(fmt.Errorf("entry %d has another hash than its tile", first+int64(i)))
			}
			bundle = bundle[end:]
		}
		if len(bundle) != 0 {
			check(fmt.Errorf("there is more in the bundle than entry %d", first+width-1))
		}
	}
	fmt.Println(size)
}
