"""``gaisnet report`` and ``gaisnet doctor``: look at what is there."""

from __future__ import annotations

from gaisnet.errors import ModelError
from gaisnet.options import cluster, run
from gaisnet.options import common as opt
from gaisnet.options import model as whole
from gaisnet.options.together import check_belonging, check_one_at_most

__all__ = ["doctor", "report"]


def report(
    subject: run.Subject,
    output: run.PageFile = None,
    format: opt.Form = "text",
    quiet: opt.Quiet = False,
    force: opt.Force = False,
) -> None:
    """Show a profile, a plan or a run; with -o also as one self-contained HTML page."""
    from gaisnet.report import RunRecord, Session, read_subject, report_html, view
    from gaisnet.schema.files import write_atomic

    with Session(format, quiet=quiet) as session:
        found = read_subject(subject)
        if output is not None:
            write_atomic(output, report_html(found), force=force)
        session.show(view(found))
        if output is not None:
            session.note(f"written to {output}")
        session.answer(found.document() if isinstance(found, RunRecord) else found)


def doctor(
    model: whole.ModelOption = None,
    address: run.Address = None,
    plan: cluster.PlanToCheck = None,
    credentials: cluster.Credentials = None,
    insecure: cluster.JoinInsecure = False,
    tunable: whole.Tunable = "lora",
    task: whole.Task = None,
    num_labels: whole.Labels = None,
    seed: opt.Seed = None,
    format: opt.Form = "text",
    quiet: opt.Quiet = False,
) -> None:
    """Show what is here; prove a model's cuts (--model); look at a plan's devices (--plan)."""
    from gaisnet import joining
    from gaisnet.report import Session
    from gaisnet.report.environment import environment, environment_table, split_data, split_table

    with Session(format, quiet=quiet) as session:
        check_one_at_most({"--model": model, "--plan": plan})
        check_belonging(
            "--address", address, {}, {"--credentials": credentials, "--insecure": insecure}
        )
        if address is not None:
            joining.check(session, plan, address, credentials, insecure)
            return
        if plan is not None:
            joining.check_here(session, plan)
            return
        found = environment()
        session.show(environment_table(found))
        if model is None:
            session.answer(found)
            return
        spec = whole.model_spec(model, task, num_labels, seed=seed)
        from gaisnet.models import attach, check_split, load_model

        with session.progress("checking every cut"):
            tuned = attach(load_model(spec), whole.tunable_spec(tunable), seed=spec.seed)
            check = check_split(tuned)
        session.show(split_table(check))
        session.answer({**found, "split": split_data(check)})
        if not check.ok:
            raise ModelError("a split of this model differs from the whole", where=model)
