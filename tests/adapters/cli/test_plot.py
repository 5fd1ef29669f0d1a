"""``optcore schedules`` and ``optcore plot``, and the page docs/schedules.md that is made with them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pictures
import pytest

import optcore
from optcore import registry
from optcore.adapters.cli import main, plot

s = optcore.schedules
ROOT = Path(__file__).parents[3]


def test_schedules_lists_every_schedule(capsys: Any) -> None:
    assert main(["schedules", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == sorted(registry.schedules())
    assert all(row["source"] and row["parameters"] and row["doc"] for row in rows)
    assert main(["schedules"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(rows)
    assert main(["schedules", "cosine", "sgdr"]) == 0
    out = capsys.readouterr().out
    assert "like = torch" in out and "growth = 1.0 in [1, inf)" in out


@pytest.mark.parametrize(
    ("text", "law"),
    [
        ("cosine:peak=1e-3,steps=9", s.cosine(peak=1e-3, steps=9)),
        ("cosine:like=torch,peak=1,steps=9", s.cosine(like="torch", peak=1, steps=9)),
        (
            "exponential:start=1,rate=0.5,end=none,staircase=True",
            s.exponential(start=1, rate=0.5, end=None, staircase=True),
        ),
        ("multistep:start=1,milestones=(3,6)", s.multistep(start=1, milestones=(3, 6))),
        ("piecewise:start=1,points=(3:0.5, 6:0.1)", s.piecewise(start=1, points=((3, 0.5), (6, 0.1)))),
        (
            "warmup:steps=3,then=(warmup:steps=4,then=(constant:value=1))",
            s.warmup(steps=3, then=s.warmup(steps=4, then=s.constant(value=1))),
        ),
        ("product:parts=((constant:value=2),0.5)", s.product(parts=(s.constant(value=2), 0.5))),
        ("adam:lr=0.01", optcore.adam(lr=0.01)),
        ("sgd:lr=(constant:value=1)", optcore.sgd(lr=s.constant(value=1))),
        ("cautious(adam:lr=0.1,beta1=0.8)", optcore.cautious(optcore.adam(lr=0.1, beta1=0.8))),
        (
            "lookahead(cautious(adam:lr=0.1)):interval=5",
            optcore.lookahead(optcore.cautious(optcore.adam(lr=0.1)), interval=5),
        ),
        ("matrices(muon:lr=0.1,beta=0.8,adam)", optcore.matrices(optcore.muon(lr=0.1, beta=0.8), optcore.adam)),
        (
            "chain(clip_by_global_norm:max_norm=1,adam):lr=0.1",
            optcore.chain(optcore.clip_by_global_norm(max_norm=1), optcore.adam).bind(lr=0.1),
        ),
    ],
)
def test_a_text_stands_for_a_schedule_or_a_rule(text: str, law: Any) -> None:
    assert plot.read(text) == law


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (["schedules", "cosin"], "no schedule 'cosin'; did you mean cosine"),
        (["plot", "cosin:peak=1"], "no schedule or rule 'cosin'; did you mean cosine"),
        (["plot", "cosine:peak"], "'peak' is no parameter; write it as name=value"),
        (["plot", "cosine:peak=1"], "cosine: steps is not given"),
        (["plot", "warmup:steps=3,then=(cosine:peak=1"], "the brackets do not match"),
        (["plot", "warmup:steps=3,then=cosine:peak=1,steps=9"], "as in warmup:steps=3,then=(cosine:peak=1,steps=9)"),
        (["plot", "cosine:peak=1,steps=9,peak=2"], "peak is given twice"),
        (["plot", "cautious:lr=0.1"], "which stand in brackets, as in cautious(adam:lr=0.1)"),
        (["plot", "chain"], "as in chain(adam:lr=0.1,sgd)"),
        (["plot", "adam(sgd)"], "adam takes no rules in brackets"),
        (["plot", "cautious(adam)lr=1"], "'lr=1' behind the brackets is no parameter"),
        (["plot", "cautious(adam:lr=0.1"], "the brackets do not match"),
        (["plot", "adam)"], "the brackets do not match"),
        (["plot", "cautious(adam,sgd)"], "2 rules were given; it takes 1"),
        (["plot", "constant:value=1", "-o", "png"], "png: pictures are .png or .svg"),
        (["plot", "constant:value=1", "-o", ".svg"], ".svg: pictures are .png or .svg"),
        (["plot", "adam", "constant:value=1", "-o", "x.png"], "have no picture in common"),
        (["plot", "constant:value=1", "-o", "x.pdf"], "x.pdf: pictures are .png or .svg"),
        (["plot", "constant:value=1", "--steps", "1"], "--steps 1 is no curve"),
    ],
)
def test_a_wrong_call_is_answered_in_a_line(call: list[str], words: str, capsys: Any) -> None:
    assert main(call) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1


def test_curves_in_the_terminal(capsys: Any) -> None:
    assert main(["plot", "linear:start=1,end=0,steps=99", "constant:value=0.5", "--steps", "100"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("        1 |*") and lines[15].startswith("        0 |") and lines[15].endswith("*")
    assert sum("ooooo" in line for line in lines) == 1
    assert lines[-2:] == ["* linear:start=1,end=0,steps=99", "o constant:value=0.5"]


def test_a_curve_that_is_written_twice_is_drawn_twice(capsys: Any) -> None:
    assert main(["plot", "constant:value=1", "constant:value=1"]) == 0
    *lines, first, second = capsys.readouterr().out.splitlines()
    assert (first, second) == ("* constant:value=1", "o constant:value=1 (2)")
    assert any(line.endswith("*o*o*o") for line in lines)


def test_values_that_are_no_numbers_are_gaps(capsys: Any, tmp_path: Path) -> None:
    call = ["plot", "exponential:start=1,rate=2", "--steps", "2000"]  # 2^996 is the last below 1e300
    assert main(call) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "* exponential:start=1,rate=2, no number at 1003 of 2000 steps"
    assert out.splitlines()[0].startswith(f"{2.0**996:>9.3g} |")
    assert main([*call, "-o", str(tmp_path / "a.svg")]) == 0
    assert np.isnan(plot.values_of(s.exponential(start=1e200, rate=1e200), 3)[1:]).all()
    assert main(["plot", "exponential:start=1e301,rate=2"]) == 2
    assert "no value of 1000 steps is a number up to 1e+300" in capsys.readouterr().err


def test_a_rule_of_matrices_walks_as_a_row() -> None:
    rule, surface = optcore.muon(lr=0.01), plot.SURFACES[2]
    p = np.array([surface.start])
    state, points = rule.init(p), [p[0]]
    for t in range(1, 6):
        p, state = rule(p, np.array([surface.gradient(*p[0])]), state, t=t)
        points.append(p[0])
    np.testing.assert_array_equal(plot.best_path(rule, surface, 5), points)


def test_the_terminal_needs_no_matplotlib() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None; from optcore.adapters.cli import main;"
        "assert main(['plot', 'constant:value=1']) == 0; assert main(['plot', 'constant:value=1', '-o', 'x.png']) == 2"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "pip install 'optcore[plot]'" in done.stderr


def test_the_path_of_a_rule_is_a_picture_where_no_file_is_named(
    capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plot", "adam:lr=0.05"]) == 0
    (written,) = tmp_path.iterdir()
    assert written.name in capsys.readouterr().out and written.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_pictures_are_written(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"a.{kind}"
    assert main(["plot", "cosine:peak=1,steps=9", "constant:value=1", "--steps", "20", "-o", str(file)]) == 0
    assert main(["plot", "adam:lr=0.1", "sgd", "--steps", "20", "-o", str(tmp_path / f"b.{kind}")]) == 0
    head = file.read_bytes()[:5]
    assert head in (b"\x89PNG\r", b"<?xml") and (tmp_path / f"b.{kind}").stat().st_size > 1000


@pytest.mark.parametrize("surface", plot.SURFACES, ids=lambda surface: surface.name)
def test_surfaces_have_their_gradients_and_minima(surface: Any) -> None:
    assert surface.f(*surface.minimum) == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(surface.gradient(*surface.minimum), 0.0, atol=1e-12)
    x, y, h = 0.7, -0.3, 1e-6
    numeric = [
        (surface.f(x + h, y) - surface.f(x - h, y)) / (2 * h),
        (surface.f(x, y + h) - surface.f(x, y - h)) / (2 * h),
    ]
    np.testing.assert_allclose(surface.gradient(x, y), numeric, rtol=1e-6)  # central differences: h^2
    points = plot.best_path(optcore.adam, surface, 300)
    assert surface.f(*points[-1]) < 0.01 * surface.f(*surface.start)


def test_the_page_is_what_the_schedules_say() -> None:
    """docs/schedules.md equals what the schedules say; if one has changed, run ``python tests/pictures.py``."""
    assert set(pictures.EXAMPLES) == set(registry.schedules())
    assert sorted(name for names in pictures.modules().values() for name in names) == sorted(registry.schedules())
    assert pictures.FILE.read_text() == pictures.page()
    drawn = {path.stem for path in (ROOT / "docs/pictures").glob("*.svg")}
    assert set(pictures.modules()) <= drawn


def test_the_pictures_can_be_drawn(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "pictures").mkdir()
    monkeypatch.setattr(pictures, "DOCS", tmp_path)
    pictures.draw()
    assert {f.stem for f in (tmp_path / "pictures").iterdir()} == set(pictures.modules())
