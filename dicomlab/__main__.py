"""The command line, over the same objects: ``dicomlab --help`` lists its commands."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import dicomlab
from dicomlab import profiles
from dicomlab.errors import DicomlabError, UsageError
from dicomlab.part10.medium import medium_errors

EXIT_CODES = """exit codes:
  0    it did what it should; an empty answer is an answer
  1    it did not: a peer can't be reached or refused, something failed, is missing, or was not read to the end
  2    the call is wrong; nothing was sent
  130  interrupted (Ctrl-C) before there was anything to tell
"""
EXAMPLES = """examples:
  dicomlab demo
  dicomlab doctor PACS@10.0.0.5:104 --me LAB1:11112
  dicomlab find PACS@10.0.0.5:104 study PatientID='P*' StudyDate=20260101-20260131
  dicomlab retrieve https://pacs.example/dicom-web series 'Modality=CT|MR' --to cohort
  dicomlab scan cohort -o cohort.parquet
  dicomlab view cohort

dicomlab COMMAND --help has each option.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code that :data:`EXIT_CODES` explains."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.run is None:
        parser.print_help(sys.stderr)
        return 2
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a console that has no ✓ must not end the work
    try:
        result: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has read enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the exit would try once more
        return 1
    except KeyboardInterrupt:
        print("dicomlab: interrupted", file=sys.stderr)
        return 130
    except UsageError as error:
        print(f"dicomlab: {error}", file=sys.stderr)
        return 2
    except DicomlabError as error:
        print(f"dicomlab: {type(error).__name__}: {error}", file=sys.stderr)
        for note in getattr(error, "__notes__", ()):
            print(f"  {note}", file=sys.stderr)
        return 1
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "dicomlab",
        description="The DICOM communication model: DIMSE, DICOMweb, media and real-time.",
        epilog=f"{EXAMPLES}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=None)
    parser.add_argument("--version", action="version", version=f"dicomlab {dicomlab.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(run=run)
        return one

    demo = command("demo", _demo, "one cohort over DIMSE, over the web and from media, end to end, in this process")
    demo.add_argument("--to", type=Path, help="folder for its HTML account (default: dicomlab-demo)")
    lab = command("lab", _lab, "open the tutorials in JupyterLab")
    lab.add_argument("folder", nargs="?", type=Path, help="folder of notebooks (default: ./notebooks, else here)")
    serve = command("serve", _serve, "keep an archive open until interrupted")
    serve.add_argument("folder", nargs="?", type=Path, help="where it keeps its files (default: a temporary folder)")
    serve.add_argument("--address", help="AET@host:port (default: DICOMLAB on a free loopback port)")
    serve.add_argument("--web-port", type=int, default=0, help="port of the origin server (default: a free one)")
    serve.add_argument("--web-host", action="append", default=[], metavar="NAME", help="a proxy's name; *: any")
    serve.add_argument(
        "--viewer", type=Path, metavar="FOLDER", help="a prebuilt web viewer to be served beside the data"
    )
    serve.add_argument("--demo", action="store_true", help="filled with samples")
    doctor = command("doctor", _doctor, "what is installed here and works; or, of a peer: what it does, and why not")
    doctor.add_argument("peer", nargs="?", help="AET@host:port, http(s)://host/dicom-web, or the name of a profile")
    doctor.add_argument("keys", nargs="*", metavar="Keyword=value", help="the study to be tried with")
    doctor.add_argument("--me", default="DICOMLAB", help="our AE title, or AET:port")
    scan = command("scan", _scan, "index a folder, a ZIP archive or an ISO 9660 image of DICOM files")
    scan.add_argument("path", type=Path)
    scan.add_argument("--level", default="study", help="patient, study, series or instance (default: study)")
    scan.add_argument("-o", "--output", type=Path, help="write one row for each instance there: .parquet or .csv")
    scan.add_argument("--include", action="append", default=[], metavar="Keyword", help="a further attribute to read")
    scan.add_argument("--processes", type=int, default=1, help="read with so many (default: 1)")
    scan.add_argument("--no-cache", action="store_true", help="read every file, and keep no index for the next time")
    find = command("find", _find, "search a PACS, a DICOMweb server or a folder")
    retrieve = command("retrieve", _retrieve, "retrieve what a search finds into a folder")
    for one in (find, retrieve, doctor):
        one.add_argument("--tls", nargs="?", const=True, metavar="CERT,KEY,CA", help="speak TLS, with PEM files")
    for one in (find, retrieve):
        one.add_argument("source", help="AET@host:port, http(s)://host/dicom-web, a folder, or the name of a profile")
        one.add_argument("level", help="patient, study, series or instance")
        one.add_argument("keys", nargs="*", metavar="Keyword=value", help="values apart by | mean any of them")
        one.add_argument("--me", default="DICOMLAB", help="our AE title, or AET:port")
        one.add_argument("--limit", type=int, metavar="N", help="take no more than so many")
        one.add_argument("--show", action="store_true", help="show values that identify patients")
    view = command(
        "view", _view, "show what is in a file, a folder, a ZIP archive or an ISO 9660 image, in the browser"
    )
    view.add_argument("path", type=Path)
    view.add_argument(
        "-o", "--output", type=Path, default=Path("dicomlab-view.html"), help="the page (default: %(default)s)"
    )
    view.add_argument("--no-open", action="store_true", help="write the page, and open no browser")
    view.add_argument("--show", action="store_true", help="show values that identify patients")
    find.add_argument("--csv", type=Path, metavar="FILE.csv", help="write the table there, whole and plain")
    retrieve.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="the same call again resumes")
    return parser


def _demo(arguments: argparse.Namespace) -> int:
    import matplotlib as mpl

    from dicomlab.demo import run
    from dicomlab.notebook.account import FOLDER, Account

    if arguments.to is not None and arguments.to.exists() and not arguments.to.is_dir():
        raise UsageError(f"{arguments.to} is a file; the account is written into a folder")
    mpl.use("Agg")  # drawn into the account, on no screen
    account = Account("The DICOM communication model, end to end on this machine")
    run(lambda line: print(line, flush=True), account.add)
    print(f"The same to look at: {account.write(arguments.to or FOLDER)}", flush=True)
    return 0


def _lab(arguments: argparse.Namespace) -> int:
    import subprocess

    if not _installed("jupyterlab"):
        raise dicomlab.MissingExtra("to open the notebooks: pip install 'dicomlab[lab]'")
    folder = arguments.folder or (Path("notebooks") if Path("notebooks").is_dir() else Path())
    tour = [str(p) for p in sorted(folder.glob("00-*.ipynb"))[:1]] if folder.is_dir() else [str(folder)]
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # as in a container
    with subprocess.Popen([sys.executable, "-m", "jupyterlab", *root, *(tour or [str(folder)])]) as started:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it hears Ctrl-C too, asks, and ends its kernels itself
        signal.signal(signal.SIGTERM, lambda *_: started.terminate())
        return started.wait()


def _serve(arguments: argparse.Namespace) -> int:
    from dicomlab.archive.archive import Archive
    from dicomlab.samples import real_files

    door = {"web_port": arguments.web_port, "web_hosts": arguments.web_host}
    with _told_to_end() as ended, Archive(arguments.folder, arguments.address, **door) as archive:
        if arguments.viewer is not None:
            print(f"Viewer: {archive.mount_viewer(arguments.viewer)}", flush=True)
        if arguments.demo:
            archive.add(real_files(), progress=False)
        print(repr(archive), flush=True)
        print("Ctrl-C ends it.", flush=True)
        while not ended.wait(3600):
            pass
    return 0


@contextmanager
def _told_to_end() -> Iterator[threading.Event]:
    """Set by Ctrl-C or SIGTERM, which otherwise do nothing meanwhile."""
    ended = threading.Event()
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _doctor(arguments: argparse.Namespace) -> int:
    if arguments.peer is None:
        return _installation()
    if arguments.peer.startswith(("http://", "https://")):
        found: object = dicomlab.WebEndpoint(arguments.peer).verify()
    else:
        found = _node(arguments.peer, arguments).doctor(_keys(arguments))
    print(found)
    return 0 if found else 1


def _installation() -> int:
    print(f"dicomlab {dicomlab.__version__}, Python {sys.version.split()[0]} on {sys.platform}")
    missing = 0
    for requirement in metadata.requires("dicomlab") or []:
        name, _, condition = requirement.partition(";")
        extra = condition.partition("extra ==")[2].strip(" \"'") if "extra ==" in condition else ""
        package = name.split("[")[0].split(">")[0].split("=")[0].strip()
        if package == "dicomlab" or extra in ("test", "all"):
            continue
        try:
            print(f"  ✓ {package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            missing += not extra
            print(f"  – {package}: pip install 'dicomlab[{extra}]'" if extra else f"  ✗ {package} is missing")
    with dicomlab.Archive() as archive:
        checks = (archive.node.verify(), archive.web.verify())
        for check in checks:
            print(f"  {'✓' if check else '✗'} {check.target}")
    return 1 if missing or not all(checks) else 0


def _scan(arguments: argparse.Namespace) -> int:
    output = _output(arguments.output, ".parquet", ".csv")
    media = dicomlab.MediaSet(arguments.path, cache=not arguments.no_cache)
    media.scan(arguments.include, executor=arguments.processes if arguments.processes > 1 else None)
    cohort = media.find(arguments.level, include=arguments.include if arguments.level == "instance" else ())
    print(cohort)
    if output is not None:
        table = media.instances
        with medium_errors(output):
            table.to_parquet(output) if output.suffix == ".parquet" else table.to_csv(output, index=False)
        print(f"\n{len(table)} instances: {output}")
    errors = media.errors
    if len(errors):
        print(f"\n{len(errors)} files are not indexed:")
        print(errors.groupby("kind").size().to_string())
    return 0 if cohort.complete else 1


def _output(path: Path | None, *suffixes: str) -> Path | None:
    """A file that can be written, before the work begins."""
    if path is not None:
        if path.suffix not in suffixes:
            raise UsageError(f"{path}: the table is written as {' or '.join(suffixes)}")
        with medium_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _source(arguments: argparse.Namespace) -> Any:
    text: str = arguments.source
    if text.startswith(("http://", "https://")):
        return dicomlab.WebEndpoint(text)
    if Path(text).exists():
        return dicomlab.MediaSet(text)
    kinds = profiles.kinds(text)
    if "@" in text or "node" in kinds:
        return _node(text, arguments)
    return dicomlab.WebEndpoint(text) if kinds else dicomlab.MediaSet(text)


def _node(address: str, arguments: argparse.Namespace) -> Any:
    tls = tuple(arguments.tls.split(",")) if isinstance(arguments.tls, str) else arguments.tls
    return dicomlab.Node(address, me=arguments.me, tls=tls)


def _searched(arguments: argparse.Namespace) -> Any:
    return _source(arguments).find(arguments.level, match=_keys(arguments), limit=arguments.limit)


def _keys(arguments: argparse.Namespace) -> dict[str | int, object]:
    keys: dict[str | int, object] = {}
    for given in arguments.keys:
        name, equals, value = given.partition("=")
        if not equals:
            raise UsageError(f"{given!r} is no key: write Keyword=value")
        keys[name] = value.split("|") if "|" in value else value or None
    return keys


def _find(arguments: argparse.Namespace) -> int:
    output = _output(arguments.csv, ".csv")
    cohort = _searched(arguments)
    _print(cohort, arguments)
    if output is not None:
        with medium_errors(output):
            cohort.to_dataframe().to_csv(output, index=False)
    return 0 if _whole(cohort, arguments) else 1


def _retrieve(arguments: argparse.Namespace) -> int:
    cohort = _searched(arguments)
    report = cohort.retrieve(arguments.to)
    _print(report, arguments)
    return 0 if report.complete and _whole(cohort, arguments) else 1


def _whole(cohort: Any, arguments: argparse.Namespace) -> bool:
    """Whether it has all that there is, or all that was asked for."""
    if cohort.complete or len(cohort) == arguments.limit:
        return True
    print(f"dicomlab: not complete: {cohort.note}", file=sys.stderr)
    return False


def _view(arguments: argparse.Namespace) -> int:
    import matplotlib as mpl

    from dicomlab.notebook.contents import account_of

    if arguments.output.suffix != ".html":
        raise UsageError(f"{arguments.output}: the page is written as .html")
    mpl.use("Agg")  # drawn into the page, on no screen
    with _identity(arguments):
        page = account_of(arguments.path).write(arguments.output).resolve()
    print(page)
    if not arguments.no_open:
        import webbrowser

        webbrowser.open(page.as_uri())
    return 0


def _print(shown: object, arguments: argparse.Namespace) -> None:
    with _identity(arguments):
        print(shown)


@contextmanager
def _identity(arguments: argparse.Namespace) -> Iterator[None]:
    """Show values that identify patients for as long as this lasts, if that was asked for."""
    before = dicomlab.options.phi
    dicomlab.options.phi = "show" if arguments.show else before
    try:
        yield
    finally:
        dicomlab.options.phi = before


def _installed(module: str) -> bool:
    try:
        import_module(module)
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
