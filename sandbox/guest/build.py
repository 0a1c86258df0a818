#!/usr/bin/env python3
"""Builds python.wasm.zst and stdlib.tar.zst of this folder from Debian's packages.

    apt-get install clang-22 lld-22 llvm-22 libclang-rt-22-dev-wasm32 gcc make zstd dpkg
    pip install wasmtime==50.0.1
    python3 build.py FOLDER

FOLDER holds, or is told to hold by the message that names what is missing, the files of SOURCES: from the Debian
releases named there, `apt-get source --download-only PACKAGE=VERSION` or `apt-get download PACKAGE=VERSION`. All else is
made below it, in some fifteen minutes on two cores:

1. an interpreter for this machine, which CPython's build for another needs;
2. one for wasm32 that counts the paths it takes, which then runs train.py;
3. the one that is kept, compiled with these counts and linked as a whole.

python.patch changes CPython for speed: the allocator is called directly, ints have a free list (as in CPython 3.14),
arithmetic of small ints needs no calls and no new object where nobody else has the old one, and instructions that
usually follow each other are done as one. It also lets C code recurse as deep as the stacks here allow, and waiting
for a lock or a queue that only another thread could release or fill raises an exception.
"""

import hashlib
import io
import os
import pathlib
import subprocess
import sys
import tarfile

SOURCES = {
    # Debian 13, package python3.13
    "python3.13_3.13.5.orig.tar.xz": "93e583f243454e6e9e4588ca2c2662206ad961659863277afcdb96801647d640",
    # Debian 12 and 13, package zlib
    "zlib_1.3.dfsg+really1.3.1.orig.tar.gz": "60dd315c07f616887caa029408308a018ace66e3d142726a97db164b3b8f69fb",
    # Debian 13, package wasi-libc
    "wasi-libc_0.0~git20241209.574b88d-2_all.deb": "b7716260051d289248b7667f81fa2792c125d888ff51da3fa09c6272cc0bd11d",
}
VERSION = "3.13"
# Of the standard library: what cannot work under WASI, and tests.
LEFT_OUT = {
    "ensurepip", "idlelib", "pydoc_data", "site-packages", "test", "tkinter", "turtle.py", "turtledemo", "venv",
}
FEATURES = ["-mbulk-memory", "-mtail-call", "-mnontrapping-fptoint", "-msign-ext", "-mmutable-globals"]
# Of C's stack in linear memory, for recursion in the interpreter (the parser, `repr`, sorting).
STACK_BYTES = 16 << 20
ZLIB = "adler32 compress crc32 deflate infback inffast inflate inftrees trees uncompr zutil".split()
GUEST = pathlib.Path(__file__).resolve().parent


def run(*command, cwd, **settings):
    subprocess.run([str(part) for part in command], cwd=cwd, check=True, **settings)


def fetched(folder, name):
    path = folder / name
    if not path.exists():
        sys.exit(f"{path} is missing: see the head of this file")
    if hashlib.sha256(path.read_bytes()).hexdigest() != SOURCES[name]:
        sys.exit(f"{path} is not the file that this was made for: its SHA-256 differs")
    return path


def unpack(folder):
    """The sources below `folder`: CPython with our patch, zlib, the system root."""
    python, zlib, root = folder / "python", folder / "zlib", folder / "root"
    archives = [fetched(folder, name) for name in SOURCES]
    for path in (python, zlib):
        path.mkdir()
    run("tar", "xf", archives[0], "--strip-components=1", "-C", python, cwd=folder)
    run("tar", "xf", archives[1], "--strip-components=1", "-C", zlib, cwd=folder)
    run("dpkg-deb", "-x", archives[2], root, cwd=folder)
    run("patch", "-p1", "-i", GUEST / "python.patch", cwd=python)
    return python, zlib, root / "usr"


def compiler(root):
    return ["clang-22", "--target=wasm32-wasip1", f"--sysroot={root}"]


def build_zlib(folder, zlib, root):
    """The static library, and the folder with its headers."""
    made = folder / "zlib-wasm"
    made.mkdir()
    for name in ZLIB:
        run(*compiler(root), *FEATURES, "-O3", "-DNDEBUG", "-c", zlib / f"{name}.c", "-o", f"{name}.o", cwd=made)
    run("llvm-ar-22", "rcs", "libz.a", *(f"{name}.o" for name in ZLIB), cwd=made)
    return made


def build_native(folder, python):
    made = folder / "native"
    made.mkdir()
    run(python / "configure", "--disable-test-modules", "CC=gcc", "CFLAGS=-O1", cwd=made)
    run("make", "-j2", "python", cwd=made)
    return made / "python"


def build_wasm(folder, name, python, native, zlib, root, options, target):
    """Everything of CPython for wasm32, compiled with `options`, in the folder that is returned."""
    made = folder / name
    made.mkdir()
    settings = {
        "CC": " ".join(compiler(root)), "AR": "llvm-ar-22", "RANLIB": "llvm-ranlib-22", "READELF": "true",
        "CFLAGS": " ".join(FEATURES), "OPT": f"-DNDEBUG -O3 {options}", "PKG_CONFIG": "false",
        "ZLIB_CFLAGS": f"-I{folder / 'zlib'}", "ZLIB_LIBS": f"-L{zlib} -lz",
    }
    run(
        python / "configure", "--host=wasm32-wasip1", "--build=x86_64-pc-linux-gnu", f"--with-build-python={native}",
        "--with-pymalloc", "--disable-test-modules", "--without-doc-strings",
        *(f"{key}={value}" for key, value in settings.items()),
        cwd=made, env=os.environ | {"CONFIG_SITE": str(python / "Tools/wasm/config.site-wasm32-wasi")},
    )
    run("make", "-j2", f"libpython{VERSION}.a", *target, cwd=made)
    return made


def link(made, zlib, root, out, objects, options):
    run(
        *compiler(root), *options, "-O2", "-z", f"stack-size={STACK_BYTES}", "-Wl,--stack-first,--strip-all",
        "-o", out, *objects, f"libpython{VERSION}.a", "Modules/_decimal/libmpdec/libmpdec.a",
        "Modules/_hacl/libHacl_Hash_SHA2.a", "Modules/expat/libexpat.a", f"-L{zlib}", "-lz", "-lwasi-emulated-signal",
        "-lwasi-emulated-getpid", "-lwasi-emulated-process-clocks", "-lm", "-ldl", cwd=made,
    )


def train(interpreter, library, folder):
    """Runs train.py in the interpreter that counts."""
    import wasmtime

    config = wasmtime.Config()
    config.wasm_tail_call = True
    engine = wasmtime.Engine(config)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    store = wasmtime.Store(engine)
    wasi = wasmtime.WasiConfig()
    wasi.inherit_stderr()
    wasi.argv = ["python", "-S", "/guest/train.py"]
    wasi.env = [["PYTHONPATH", "/library"], ["PYTHONHOME", "/library"], ["PYTHONDONTWRITEBYTECODE", "1"],
                ["PYTHONHASHSEED", "0"], ["PROFILE_FILE", "/folder/python.profraw"]]
    for path, name in ((library, "/library"), (GUEST, "/guest"), (folder, "/folder")):
        wasi.preopen_dir(str(path), name)
    store.set_wasi(wasi)
    module = wasmtime.Module.from_file(engine, str(interpreter))
    try:
        linker.instantiate(store, module).exports(store)["_start"](store)
    except wasmtime.ExitTrap as ended:
        if ended.code != 0:
            sys.exit("train.py failed")
    profile = folder / "python.profdata"
    run("llvm-profdata-22", "merge", "-o", profile, folder / "python.profraw", cwd=folder)
    return profile


def standard_library(python, made, folder):
    """A tar of the .py files, sorted, without owners and times, so that it is the same each time."""
    library = python / "Lib"
    files = {"LICENSE.txt": (python / "LICENSE").read_bytes()}
    # What `sysconfig` reads: how this interpreter was built, without saying where.
    run("make", "pybuilddir.txt", cwd=made)
    for path in (made / (made / "pybuilddir.txt").read_text()).glob("_sysconfigdata_*.py"):
        files[path.name] = path.read_bytes().replace(str(folder).encode(), b"")
    for path in library.rglob("*.py"):
        name = path.relative_to(library)
        if not LEFT_OUT.intersection(name.parts):
            files[str(name)] = path.read_bytes()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as target:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            target.addfile(entry, io.BytesIO(files[name]))
    return out.getvalue()


def pack(name, content):
    packed = subprocess.run(["zstd", "-q", "-19", "--no-check"], input=content, stdout=subprocess.PIPE, check=True)
    (GUEST / f"{name}.zst").write_bytes(packed.stdout)


def main():
    folder = pathlib.Path(sys.argv[1]).resolve()
    python, zlib_source, root = unpack(folder)
    zlib = build_zlib(folder, zlib_source, root)
    native = build_native(folder, python)

    counting = build_wasm(folder, "counting", python, native, zlib, root, "-Xclang -fprofile-instrument=llvm",
                          ["Programs/python.o"])
    run(*compiler(root), "-O2", "-c", GUEST / "profile.c", "-o", "profile.o", cwd=counting)
    link(counting, zlib, root, "python.wasm", ["Programs/python.o", "profile.o"], [])
    profile = train(counting / "python.wasm", python / "Lib", folder)

    options = f"-flto -fprofile-use={profile} -Wno-profile-instr-unprofiled -Wno-profile-instr-out-of-date"
    kept = build_wasm(folder, "kept", python, native, zlib, root, options, [])
    # The evaluation loop alone goes without: with these counts, clang 22 makes such a tangle of its jumps that
    # straightening them for WebAssembly takes more than ten minutes and all memory.
    (kept / "Python/ceval.o").unlink()
    run("make", f"libpython{VERSION}.a", "OPT=-DNDEBUG -O3", cwd=kept)
    run(*compiler(root), *FEATURES, "-O3", "-flto", f"-I{python / 'Include'}",
        f"-I{python / 'Include/internal'}", "-I.", "-c", GUEST / "guest.c", "-o", "guest.o", cwd=kept)
    link(kept, zlib, root, "guest.wasm", ["guest.o"], ["-mexec-model=reactor", "-flto", "-Wl,--lto-O2"])

    pack("python.wasm", (kept / "guest.wasm").read_bytes())
    pack("stdlib.tar", standard_library(python, kept, folder))
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(GUEST.glob("*.zst"))]
    (GUEST / "SHA256SUMS").write_text("".join(sums))


if __name__ == "__main__":
    main()
