"""What ``gaisnet profile`` can be asked for, one function each; it measures or compares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaisnet.errors import InputError

if TYPE_CHECKING:
    from gaisnet.options.profile_groups import Carry, Other, Sample
    from gaisnet.profiler.leakage import DataSample
    from gaisnet.report import Session
    from gaisnet.schema.calibration import CalibrationStep
    from gaisnet.schema.link import LinkPart
    from gaisnet.schema.model import ModelSpec, TunableSpec
    from gaisnet.schema.profile import DevicePart, Profile

__all__ = [
    "Carried",
    "calibrate",
    "prepare",
    "profile",
    "show_other",
]


def show_other(session: Session, other: Other, force: bool) -> None:
    """What is asked for instead of a profile of a model or of this device.

    Raises:
        GaisnetError: See ``_listen``, ``_compare`` and ``_link``.
    """
    if other.listen is not None:
        _listen(session, other.listen, other.insecure)
    elif other.compare is not None:
        _compare(session, other.compare, other.output, force)
    elif other.link is not None:
        _link(session, other.link, other.output, force)
    else:
        _show_presets(session)


def _show_presets(session: Session) -> None:
    """The catalogue of devices."""
    from gaisnet.report import preset_table
    from gaisnet.schema.catalogue import preset, preset_names

    presets = [preset(name) for name in preset_names()]
    session.show(preset_table(presets))
    session.answer({"presets": [part.model_dump(mode="json") for part in presets]})


def profile(
    session: Session,
    spec: ModelSpec | None,
    tunable: TunableSpec,
    settings: dict[str, Any],
    carried: Carried,
    sample: Sample,
    output: Path | None,
    force: bool,
) -> None:
    """Write and show a profile: measured now, or the one that ``--from`` names, carried over.

    Raises:
        InputError: A file is not what it should be.
        ModelError: The model cannot be loaded or cut, or cannot have these tunable modules.
        MismatchError: There is no model part to carry over, or the step was of another model.
    """
    made = carried.source
    if made is None:
        made = _measure(session, spec, tunable, settings, _leakage_sample(spec, sample))
    if carried.device is not None:
        from gaisnet.extrapolation import extrapolate_profile

        made = extrapolate_profile(made, carried.device, carried.step)
    _deliver(session, made, output, force)


def _leakage_sample(spec: ModelSpec | None, sample: Sample) -> DataSample | None:
    """The samples to measure leakage on, checked before anything is measured.

    Raises:
        InputError: The file does not fit the model.
        ModelError: The model cannot be loaded.
    """
    if spec is None or sample.data is None:
        return None
    from gaisnet.profiler.leakage import read_profile_sample

    return read_profile_sample(sample.data, spec, sample.most)


def _measure(
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


@dataclass(frozen=True)
class Carried:
    """What the options of ``Carry`` name."""

    source: Profile | None
    device: DevicePart | None
    step: CalibrationStep | None


def prepare(output: Path | None, force: bool, carry: Carry) -> Carried:
    """Read what ``--from``, ``--as`` and ``--calibrate`` name before anything is measured.

    Raises:
        UsageError: The output exists and ``force`` is false.
        OutputError: Its folder does not exist.
        InputError: One of them is not what it should be.
    """
    from gaisnet.schema.calibration import CalibrationStep
    from gaisnet.schema.files import check_new, read_model
    from gaisnet.schema.profile import Profile

    check_new(output, force=force)
    return Carried(
        source=None if carry.source is None else read_model(carry.source, Profile),
        device=_target(carry.device),
        step=None if carry.step is None else read_model(carry.step, CalibrationStep),
    )


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


def _deliver(session: Session, made: Profile, output: Path | None, force: bool) -> None:
    """Write and show a profile.

    Raises:
        UsageError: The file exists and ``force`` is false.
        OutputError: It cannot be written.
    """
    from gaisnet.report import profile_table

    session.deliver(made, profile_table(made), output, force=force)


def _compare(session: Session, paths: tuple[Path, Path], output: Path | None, force: bool) -> None:
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


def _listen(session: Session, address: str, insecure: bool) -> None:
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


def _link(session: Session, address: str, output: Path | None, force: bool) -> None:
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
    _deliver(session, Profile(link=part, tool_versions={"gaisnet": __version__}), output, force)
    session.show("For fleet.yaml, with the devices' own ids:", "", _yaml(part))


def _yaml(part: LinkPart) -> str:
    import yaml

    from gaisnet.links import fleet_link

    entry = fleet_link(part, ("this-device", "other-device"))
    fields = entry.model_dump(mode="json", exclude_defaults=True)
    text: str = yaml.safe_dump({"links": [fields]}, sort_keys=False, default_flow_style=None)
    return text
