"""The control plane that fails together with an app's home is said, wherever it is known."""

from failoverd.core.rules import Site
from failoverd.core.shared_fate import with_control_plane
from tests.core.build import CP, W1, W2, an_app, some_rules

SAME = ((CP, "pve"), (W1, "pve"), (W2, "nas"))


def said(planes, **rules):
    return list(with_control_plane(some_rules(**rules), planes))


def test_a_control_plane_on_the_hypervisor_of_the_primary_is_said():
    assert said({CP}, witnesses=SAME) == [
        "the control plane (cp1) is in the failure domain pve of w1: when that fails as a whole nothing can be "
        "moved, and once it is back everything is watched from zero"
    ]


def test_one_that_is_the_primary_itself_is_said_too():
    (line,) = said({W1})
    assert "(w1)" in line


def test_one_elsewhere_is_not():
    assert said({CP}) == []
    assert said({W2}) == []
    assert said(set()) == []


def test_of_three_it_is_the_majority_that_counts():
    assert said({CP, W2, "cp2"}, witnesses=SAME) == []
    assert len(said({CP, W1, "cp2"}, witnesses=SAME)) == 1


def test_it_is_the_home_of_apps_that_counts():
    away = an_app(preferred=Site.BACKUP)
    assert list(with_control_plane(some_rules(away, witnesses=SAME), {CP})) == []
    assert len(list(with_control_plane(some_rules(away, witnesses=SAME), {W2}))) == 1
