// The judge: reads a log's checkpoint, tiles and entries from a directory laid out as C2SP tlog-tiles has it, and
// re-computes everything with Go's own packages, of which not a line is ours. It prints what it counted, or what it
// found wrong, and then its exit status is 1.
//
//	judge DIR VERIFIER_KEY PROOFS WITNESS_KEY
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type hashes []tlog.Hash

func (all hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, index := range indexes {
		if index >= int64(len(all)) {
			return nil, fmt.Errorf("hash %d of %d", index, len(all))
		}
		found = append(found, all[index])
	}
	return found, nil
}

func wrong(format string, arguments ...any) {
	fmt.Printf("wrong: "+format+"\n", arguments...)
	os.Exit(1)
}

func need(err error, what string) {
	if err != nil {
		wrong("%s: %v", what, err)
	}
}

func read(parts ...string) []byte {
	content, err := os.ReadFile(filepath.Join(parts...))
	need(err, "file")
	return content
}

func numberPath(number int64) string {
	path := fmt.Sprintf("%03d", number%1000)
	for number >= 1000 {
		number /= 1000
		path = fmt.Sprintf("x%03d/%s", number%1000, path)
	}
	return path
}

func tilePath(number, width int64) string {
	if width == 256 {
		return numberPath(number)
	}
	return fmt.Sprintf("%s.p/%d", numberPath(number), width)
}

func damaged(proof []tlog.Hash, at int) []tlog.Hash {
	copied := append([]tlog.Hash(nil), proof...)
	copied[at][rand.Intn(32)] ^= 1 << rand.Intn(8)
	return copied
}

// A witness's key as C2SP tlog-cosignature has it, which note.NewVerifier doesn't know: Ed25519 over the time and the
// checkpoint.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func newWitness(vkey string) *witness {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		wrong("witness key %q", vkey)
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	need(err, "witness key")
	if len(key) != 33 || key[0] != 4 {
		wrong("witness key %q is of another kind", vkey)
	}
	hash := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	if fmt.Sprintf("%x", hash[:4]) != parts[1] {
		wrong("witness key %q has another hash", vkey)
	}
	return &witness{parts[0], binary.BigEndian.Uint32(hash[:4]), key[1:]}
}

func (w *witness) Name() string    { return w.name }
func (w *witness) KeyHash() uint32 { return w.hash }

func (w *witness) Verify(message, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	seconds := binary.BigEndian.Uint64(signature)
	cosigned := append([]byte(fmt.Sprintf("cosignature/v1\ntime %d\n", seconds)), message...)
	return ed25519.Verify(w.key, cosigned, signature[8:])
}

// A checkpoint that both the log and the witness have signed: its size and root.
func open(content []byte, verifier note.Verifier, cosigner *witness) (int64, tlog.Hash) {
	opened, err := note.Open(content, note.VerifierList(verifier, cosigner))
	need(err, "signatures")
	if len(opened.Sigs) != 2 {
		wrong("a checkpoint has %d known signatures", len(opened.Sigs))
	}
	for _, each := range []note.Verifier{verifier, cosigner} {
		_, err := note.Open(content, note.VerifierList(each))
		need(err, "signature")
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		wrong("checkpoint text %q", opened.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	need(err, "size")
	root, err := tlog.ParseHash(lines[2])
	need(err, "root")
	return size, root
}

func main() {
	directory := os.Args[1]
	verifier, err := note.NewVerifier(os.Args[2])
	need(err, "verifier key")
	proofs, err := strconv.Atoi(os.Args[3])
	need(err, "proofs")

	cosigner := newWitness(os.Args[4])
	size, signed := open(read(directory, "checkpoint"), verifier, cosigner)

	// Every hash of the tree, out of the entries.
	var all hashes
	var leaves []tlog.Hash
	for number := int64(0); number*256 < size; number++ {
		width := size - number*256
		if width > 256 {
			width = 256
		}
		entries := read(directory, "tile", "entries", tilePath(number, width))
		tile := read(directory, "tile", "0", tilePath(number, width))
		for at := int64(0); at < width; at++ {
			length := int(binary.BigEndian.Uint16(entries))
			leaf := entries[2 : 2+length]
			entries = entries[2+length:]
			stored, err := tlog.StoredHashes(number*256+at, leaf, all)
			need(err, "stored hashes")
			all = append(all, stored...)
			leaves = append(leaves, stored[0])
			if !bytes.Equal(tile[at*32:at*32+32], stored[0][:]) {
				wrong("leaf %d is not the one in its tile", number*256+at)
			}
		}
		if len(entries) != 0 || len(tile) != int(width)*32 {
			wrong("tile %d is longer than its width", number)
		}
	}
	root, err := tlog.TreeHash(size, all)
	need(err, "tree hash")
	if root != signed {
		wrong("root %v, signed %v", root, signed)
	}

	// Every tile of the higher levels, out of those hashes.
	tiles := 0
	for _, tile := range tlog.NewTiles(8, 0, size) {
		// Older versions of the package also name every narrower width of the last tile.
		if width := size>>(8*tile.L) - tile.N*256; tile.W < 256 && int64(tile.W) < width {
			continue
		}
		data, err := tlog.ReadTileData(tile, all)
		need(err, "tile data")
		stored := read(directory, "tile", strconv.Itoa(tile.L), tilePath(tile.N, int64(tile.W)))
		if !bytes.Equal(data, stored) {
			wrong("tile %d/%d", tile.L, tile.N)
		}
		tiles++
	}

	// Proofs that we made, one a line of hashes, checked by Go; and damaged ones.
	inclusions, consistencies, rejected := 0, 0, 0
	for at := 0; at < proofs; at++ {
		index, old, inclusion, consistency := ours(directory, at)
		need(tlog.CheckRecord(inclusion, size, root, index, leaves[index]), "inclusion")
		inclusions++
		if len(inclusion) > 0 {
			if tlog.CheckRecord(damaged(inclusion, rand.Intn(len(inclusion))), size, root, index, leaves[index]) == nil {
				wrong("a damaged inclusion proof of %d was accepted", index)
			}
			rejected++
		}
		oldRoot, err := tlog.TreeHash(old, all)
		need(err, "old root")
		need(tlog.CheckTree(tlog.TreeProof(consistency), size, root, old, oldRoot), "consistency")
		consistencies++
		if len(consistency) > 0 {
			if tlog.CheckTree(tlog.TreeProof(damaged(consistency, rand.Intn(len(consistency)))), size, root, old, oldRoot) == nil {
				wrong("a damaged consistency proof from %d was accepted", old)
			}
			rejected++
		}
	}
	// The older checkpoints, and that this one has grown from them by the proofs that we made.
	older, err := filepath.Glob(filepath.Join(directory, "checkpoints", "*.note"))
	need(err, "older checkpoints")
	for _, name := range older {
		old, oldRoot := open(read(name), verifier, cosigner)
		shown, err := tlog.TreeHash(old, all)
		need(err, "older root")
		if shown != oldRoot {
			wrong("root %v of %d, signed %v", shown, old, oldRoot)
		}
		text := string(read(strings.TrimSuffix(name, ".note") + ".consistency"))
		lines := strings.Split(strings.SplitN(text, "\n\n", 2)[0], "\n")
		if lines[0] != "timebank-consistency/v1" {
			wrong("consistency %q", lines[0])
		}
		var grown tlog.TreeProof
		for _, line := range lines[1:] {
			hash, err := tlog.ParseHash(line)
			need(err, "hash")
			grown = append(grown, hash)
		}
		need(tlog.CheckTree(grown, size, signed, old, oldRoot), "consistency of two checkpoints")
	}
	fmt.Printf("cosigned %d ", 1+len(older))
	fmt.Printf("size %d tiles %d inclusions %d consistencies %d rejected %d\n", size, tiles, inclusions, consistencies, rejected)
}

// One of the proofs in proofs/: index, old size, and the hashes of both proofs, each list after its length.
func ours(directory string, at int) (index, old int64, inclusion, consistency tlog.RecordProof) {
	content := read(directory, "proofs", strconv.Itoa(at))
	next := func() int64 {
		number := int64(binary.BigEndian.Uint64(content))
		content = content[8:]
		return number
	}
	list := func() (found []tlog.Hash) {
		for count := next(); count > 0; count-- {
			var hash tlog.Hash
			copy(hash[:], content)
			content = content[32:]
			found = append(found, hash)
		}
		return found
	}
	index, old = next(), next()
	return index, old, list(), list()
}
