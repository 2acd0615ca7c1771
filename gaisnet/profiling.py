"""What ``gaisnet profile`` can be asked for, one function each; it measures or compares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaisnet.errors import InputError, UsageError

if TYPE_CHECKING:
    from gaisnet.profiler.leakage import DataSample
    from gaisnet.report import Session
    from gaisnet.schema.calibration import CalibrationStep
    from gaisnet.schema.link import LinkPart
    from gaisnet.schema.model import ModelSpec, TunableSpec
    from gaisnet.schema.profile import DevicePart, Profile

__all__ = [
    "as_device",
    "calibrate",
    "check_belonging",
    "check_extrapolation",
    "check_one_asked",
    "compare",
    "deliver",
    "leakage_sample",
    "link",
    "listen",
    "measure",
    "prepare",
    "read_profile",
    "show_presets",
]


def check_one_asked(
    model: str | None,
    device_only: bool,
    list_presets: bool,
    compare: tuple[Path, Path] | None,
    listen: str | None,
    link: str | None,
    profile: Path | None,
) -> None:
    """Refuse to do several things at once, or nothing.

    Raises:
        UsageError: Not exactly one thing was asked for.
    """
    asked = {
        "MODEL": model,
        "--device-only": device_only,
        "--list-presets": list_presets,
        "--compare": compare,
        "--listen": listen,
        "--link": link,
        "--from": profile,
    }
    given = [name for name, value in asked.items() if value]
    if not given:
        raise UsageError("name a model to profile", hint="or give --device-only or --list-presets")
    if len(given) > 1:
        one, other = sorted(given[:2], key=lambda name: name == "MODEL")
        what = "model" if other == "MODEL" else other
        raise UsageError(f"{one} takes no {what}", hint="leave out one of them")


def check_extrapolation(
    model: str | None,
    profile: Path | None,
    device: str | None,
    calibration: bool,
    calibrate: Path | None,
) -> None:
    """Refuse what ``--as``, ``--from``, ``--calibration`` and ``--calibrate`` cannot do together.

    Raises:
        UsageError: One lacks what it belongs to, or stands beside what it excludes.
    """
    if device is not None and model is None and profile is None:
        raise UsageError("--as needs times to extrapolate", hint="name a model, or give --from")
    if profile is not None and device is None:
        raise UsageError("--from belongs to --as", hint="say which device the times are for")
    if calibrate is not None and device is None:
        raise UsageError("--calibrate belongs to --as", hint="say which device it was taken on")
    if calibration and model is None:
        raise UsageError("--calibration times a step of a model", hint="name the model")
    if calibration and device is not None:
        raise UsageError(
            "--calibration is taken on the device itself",
            hint="run it there, and give its file to --calibrate here",
        )


def check_belonging(
    leakage: bool, data: Path | None, model: str | None, insecure: bool, listen: str | None
) -> None:
    """Refuse options without what they belong to.

    Raises:
        UsageError: One stands alone.
    """
    if leakage != (data is not None):
        raise UsageError(
            "--leakage and --data go together", hint="give the file of samples that leak"
        )
    if leakage and model is None:
        raise UsageError("--leakage is a model's", hint="name a model to profile")
    if insecure and listen is None:
        raise UsageError("--insecure belongs to --listen")


def show_presets(session: Session) -> None:
    """The catalogue of devices."""
    from gaisnet.report import preset_table
    from gaisnet.schema.catalogue import preset, preset_names

    presets = [preset(name) for name in preset_names()]
    session.show(preset_table(presets))
    session.answer({"presets": [part.model_dump(mode="json") for part in presets]})


def leakage_sample(spec: ModelSpec | None, data: Path | None, most: int) -> DataSample | None:
    """The samples to measure leakage on, checked before anything is measured.

    Raises:
        InputError: The file does not fit the model.
        ModelError: The model cannot be loaded.
    """
    if spec is None or data is None:
        return None
    from gaisnet.profiler.leakage import read_profile_sample

    return read_profile_sample(data, spec, most)


def measure(
    session: Session,
    spec: ModelSpec | None,
    tunable: TunableSpec,
    settings: dict[str, Any],
    sample: DataSample | None,
) -> Profile:
    """Profile this device and a model, and the leakage of the model's cuts if there is a sample.

    Raises:
        ModelError: The model cannot be loaded or cut, or cannot have these tunable modules.
    """
    from gaisnet.profiler import make_profile
    from gaisnet.report.units import as_seconds

    with session.progress("profiling") as progress:
        made = make_profile(spec, tunable, **settings, fresh=True, progress=progress)
    if sample is None:
        return made
    from gaisnet.profiler.leakage import with_leakage

    def announce(seconds: float) -> None:
        session.note(f"leakage on {len(sample)} samples will take about {as_seconds(seconds)}")

    with session.progress("leakage") as progress:
        return with_leakage(made, sample, announce=announce, progress=progress)


def prepare(
    output: Path | None, force: bool, device: str | None, step: Path | None
) -> tuple[DevicePart | None, CalibrationStep | None]:
    """What ``--as`` and ``--calibrate`` name, looked up before anything is measured.

    Raises:
        UsageError: The output exists and ``force`` is false.
        OutputError: Its folder does not exist.
        InputError: One of them is not what it should be.
    """
    from gaisnet.schema.files import check_new

    check_new(output, force=force)
    return _target(device), _calibration_file(step)


def _target(name: str | None) -> DevicePart | None:
    """The device that ``--as`` names, read before anything is measured.

    Raises:
        InputError: It is neither a preset nor a profile with a device part; the hint names the
            nearest presets.
    """
    if name is None:
        return None
    from gaisnet.schema.catalogue import preset, preset_names
    from gaisnet.schema.files import read_model
    from gaisnet.schema.profile import Profile

    if name in preset_names() or not name.endswith(".json"):
        return preset(name)
    part = read_model(name, Profile).device
    if part is None:
        raise InputError(
            "the profile has no device part",
            where=name,
            hint="make it on that device, with `gaisnet profile --device-only`",
        )
    return part


def _calibration_file(path: Path | None) -> CalibrationStep | None:
    """The step that ``--calibrate`` names.

    Raises:
        InputError: It is no calibration step.
    """
    if path is None:
        return None
    from gaisnet.schema.calibration import CalibrationStep
    from gaisnet.schema.files import read_model

    return read_model(path, CalibrationStep)


def as_device(made: Profile, device: DevicePart | None, step: CalibrationStep | None) -> Profile:
    """The profile with the times of ``device``, if there is one.

    Raises:
        MismatchError: There is no model part, or the step was taken with another model.
    """
    if device is None:
        return made
    from gaisnet.extrapolation import extrapolate_profile

    return extrapolate_profile(made, device, step)


def read_profile(path: Path) -> Profile:
    """The profile that ``--from`` names.

    Raises:
        InputError: It is no profile.
    """
    from gaisnet.schema.files import read_model
    from gaisnet.schema.profile import Profile

    return read_model(path, Profile)


def calibrate(
    session: Session,
    spec: ModelSpec,
    tunable: TunableSpec,
    settings: dict[str, Any],
    output: Path | None,
    force: bool,
) -> None:
    """Time one step of a model here, at the largest batch size asked for.

    Raises:
        ModelError: The model cannot be loaded, or is too large for this device.
    """
    from gaisnet.profiler import calibration_step
    from gaisnet.report import calibration_view

    names = ("optimizer", "tokens", "threads", "device", "seed")
    asked = {name: settings[name] for name in names}
    with session.progress("one step") as progress:
        step = calibration_step(
            spec, tunable, batch_size=max(settings["batch_sizes"]), **asked, progress=progress
        )
    session.deliver(step, calibration_view(step), output, force=force)


def deliver(session: Session, made: Profile, output: Path | None, force: bool) -> None:
    """Write and show a profile.

    Raises:
        UsageError: The file exists and ``force`` is false.
        OutputError: It cannot be written.
    """
    from gaisnet.report import profile_table

    session.deliver(made, profile_table(made), output, force=force)


def compare(session: Session, paths: tuple[Path, Path], output: Path | None, force: bool) -> None:
    """Show two profiles side by side.

    Raises:
        InputError: One is no profile.
        MismatchError: They have no part in common.
    """
    from gaisnet.report.comparison import compare_profiles, comparison_view
    from gaisnet.schema.files import read_model
    from gaisnet.schema.profile import Profile

    first, second = (read_model(path, Profile) for path in paths)
    found = compare_profiles(first, second, (str(paths[0]), str(paths[1])))
    session.deliver(found, comparison_view(found), output, force=force)


def listen(session: Session, address: str, insecure: bool) -> None:
    """Be the other end of ``--link`` until interrupted, which is not an error here.

    Raises:
        SecurityError: The address is not loopback and ``insecure`` is false.
        UsageError: The address cannot be had.
    """
    from gaisnet.links import Listener, parse_address

    end = Listener(parse_address(address), insecure=insecure)
    host, port = end.address
    session.note(f"listening on {host}:{port}; Ctrl-C ends it")
    answered: list[str] = []

    def report(ended: str) -> None:
        answered.append(ended)
        session.note(ended)

    try:
        end.serve(report)
    except KeyboardInterrupt:
        session.note("stopped")
    finally:
        end.close()
    session.answer({"address": f"{host}:{port}", "answered": answered})


def link(session: Session, address: str, output: Path | None, force: bool) -> None:
    """Measure the link to where ``--listen`` runs, and print it as ``fleet.yaml`` takes it.

    Raises:
        LinkError: The other end is not there, is too slow, or is no gaisnet.
        UsageError: The address is none.
    """
    from gaisnet import __version__
    from gaisnet.links import measure_link, parse_address
    from gaisnet.schema.profile import Profile

    with session.progress("link") as progress:
        part = measure_link(parse_address(address), progress=progress)
    deliver(session, Profile(link=part, tool_versions={"gaisnet": __version__}), output, force)
    session.show("For fleet.yaml, with the devices' own ids:", "", _yaml(part))


def _yaml(part: LinkPart) -> str:
    import yaml

    from gaisnet.links import fleet_link

    entry = fleet_link(part, ("this-device", "other-device"))
    fields = entry.model_dump(mode="json", exclude_defaults=True)
    text: str = yaml.safe_dump({"links": [fields]}, sort_keys=False, default_flow_style=None)
    return text
