"""Makes `generated/` from the proto files, and the image that buf examines.

    python protos/generate.py                 write generated/
    python protos/generate.py --check         say what is out of date, exit 1 if anything is
    python protos/generate.py --image FILE    write a descriptor set with comments, for buf

Everything comes from packages of the test lock, nothing from a network. The protos of google.api
and google.rpc, whose modules the run lock brings, are never generated a second time: two modules
that register the same file cannot live in one process. protovalidate ships its rules only as a
descriptor inside its own generated code, so `buf/validate` is generated from those bytes.
"""

import argparse
import ast
import filecmp
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2

PROTOS = Path(__file__).resolve().parent
ROOT = PROTOS.parent
GENERATED = ROOT / "generated"
VALIDATE_PROTO = "buf/validate/validate.proto"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status says whether `--check` found a difference."""
    parser = argparse.ArgumentParser(description="Generate code from the proto files.")
    task = parser.add_mutually_exclusive_group()
    task.add_argument("--check", action="store_true", help="only compare with generated/")
    task.add_argument("--image", type=Path, metavar="FILE", help="only write a descriptor set")
    parser.add_argument("--source", type=Path, default=PROTOS, help="folder of the proto files")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if chosen.image:
            write_image(chosen.source, chosen.image, scratch)
            return 0
        fresh = scratch / "generated"
        generate(chosen.source, fresh, scratch)
        if chosen.check:
            return report_differences(fresh, GENERATED)
        shutil.rmtree(GENERATED, ignore_errors=True)
        shutil.copytree(fresh, GENERATED)
        return 0


def generate(source: Path, target: Path, scratch: Path) -> None:
    """Generate messages, stubs and services of every proto file below `source` into `target`."""
    target.mkdir()
    files = proto_files(source)
    rules = write_validate_descriptor(scratch)
    messages = [f"--python_out={target}", plugin("mypy"), f"--mypy_out=quiet:{target}"]
    run_protoc([f"--descriptor_set_in={rules}", *messages, VALIDATE_PROTO])
    if files:
        run_protoc([*search_path(source, rules), *messages, *files])
    services = [name for name in files if name.endswith("_service.proto")]
    if services:
        outputs = [f"--grpc_python_out={target}", plugin("mypy_grpc")]
        outputs.append(f"--mypy_grpc_out=quiet:{target}")
        run_protoc([*search_path(source, rules), *outputs, *services])
    # As ordinary packages they cannot be mixed up with a folder of that name elsewhere on the path.
    for folder in [path for path in target.rglob("*") if path.is_dir()]:
        (folder / "__init__.py").touch()


def write_image(source: Path, image: Path, scratch: Path) -> None:
    """Write every proto file below `source`, with comments and imports, as one descriptor set."""
    rules = write_validate_descriptor(scratch)
    options = [f"--descriptor_set_out={image}", "--include_imports", "--include_source_info"]
    run_protoc([*search_path(source, rules), *options, *proto_files(source)])


def proto_files(source: Path) -> list[str]:
    """Return the proto files as protoc names them: relative to the source folder, in order."""
    return sorted(path.relative_to(source).as_posix() for path in source.rglob("*.proto"))


def search_path(source: Path, rules: Path) -> list[str]:
    """Tell protoc where to look: our protos, then the packages that bring google.api."""
    google = Path(package_folder("google.api")).parent.parent
    return [f"-I{source}", f"-I{google}", f"--descriptor_set_in={rules}"]


def plugin(name: str) -> str:
    """Point protoc at a plugin of this environment, which need not be activated."""
    return f"--plugin={Path(sysconfig.get_path('scripts')) / f'protoc-gen-{name}'}"


def write_validate_descriptor(scratch: Path) -> Path:
    """Write the descriptor of protovalidate's rules and of all that it imports; return the file."""
    rules = descriptor_pb2.FileDescriptorProto.FromString(validate_descriptor_bytes())
    files = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, timestamp_pb2, field_mask_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    files.file.append(rules)
    path = scratch / "validate.binpb"
    path.write_bytes(files.SerializeToString(deterministic=True))
    return path


def validate_descriptor_bytes() -> bytes:
    """Find the serialized FileDescriptorProto in protovalidate's generated module.

    Read from its source instead of from the imported module, where only private names lead to it.
    """
    source = Path(package_folder("protovalidate")) / "_gen/buf/validate/validate_pb.py"
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "file_desc":
            value = ast.literal_eval(node.args[0])
            if isinstance(value, bytes):
                return value
    message = f"no descriptor in {source}: has protovalidate changed its generated code?"
    raise SystemExit(message)


def package_folder(name: str) -> str:
    """Folder of an installed package, found without running it."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        message = f"{name} is not installed; run make test, which installs the test lock"
        raise SystemExit(message)
    return next(iter(spec.submodule_search_locations))


def run_protoc(arguments: list[str]) -> None:
    """Run the protoc inside grpcio-tools; end the program with its message when it refuses."""
    command = [sys.executable, "-m", "grpc_tools.protoc", *arguments]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit("protoc refused the proto files")


def report_differences(fresh: Path, committed: Path) -> int:
    """Print each file that a fresh generation would change; return the exit status."""
    names = {
        path.relative_to(folder)
        for folder in (fresh, committed)
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    stale = sorted(name for name in names if not same(fresh / name, committed / name))
    for name in stale:
        sys.stderr.write(f"generated/{name} is not what the protos say: run make generate\n")
    return 1 if stale else 0


def same(one: Path, other: Path) -> bool:
    """Tell whether both files exist and have the same bytes."""
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


if __name__ == "__main__":
    raise SystemExit(main())
