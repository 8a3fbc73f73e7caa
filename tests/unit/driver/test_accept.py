"""What is written into the host's own firewall, given what is in it."""

from __future__ import annotations

from driver.accept import changes, foreign_rules, rules

DOCKER = ["-P FORWARD DROP", "-A FORWARD -j DOCKER-USER", "-A FORWARD -i docker0 ! -o docker0 -j ACCEPT"]
USER = ["-N DOCKER-USER", "-A DOCKER-USER -j RETURN"]
OWN = [f"-A DOCKER-USER {rule}" for rule in rules(["docker0"])]


def test_rules_come_before_dockers_return_and_after_the_users() -> None:
    block = "-A DOCKER-USER -s 203.0.113.0/24 -j DROP"
    text = changes(DOCKER, [USER[0], block, USER[1]], ["docker0"], active=True)
    lines = text.splitlines()
    assert lines[0] == "*filter" and lines[-1] == "COMMIT"
    assert [line.split(" -", 1)[0] for line in lines[1:-1]] == [f"-I DOCKER-USER {i}" for i in (2, 3, 4, 5)]


def test_what_is_in_place_is_left_alone() -> None:
    assert changes(DOCKER, [USER[0], *OWN, USER[1]], ["docker0"], active=True) == ""
    assert changes(["-P FORWARD ACCEPT"], None, [], active=True) == "", "nobody is in the way"


def test_a_new_bridge_changes_them_as_a_whole() -> None:
    text = changes(DOCKER, [USER[0], *OWN, USER[1]], ["docker0", "br-1"], active=True)
    assert text.count("-D DOCKER-USER") == len(OWN)
    assert "-o br-1" in text and "-o docker0" in text


def test_newer_engines_have_an_empty_chain() -> None:
    text = changes(["-P FORWARD DROP"], ["-N DOCKER-USER"], [], active=True)
    assert text.count("-A DOCKER-USER") == 3


def test_a_host_without_docker_that_drops() -> None:
    text = changes(["-P FORWARD DROP"], None, [], active=True)
    assert text.count("-A FORWARD") == 3


def test_without_networks_nothing_of_ours_stays() -> None:
    text = changes(DOCKER, [USER[0], *OWN, USER[1]], ["docker0"], active=False)
    assert text.count("-D DOCKER-USER") == len(OWN) and "-I" not in text and "-A" not in text
    assert changes(DOCKER, USER, ["docker0"], active=False) == ""


def test_only_answers_and_published_ports_come_in() -> None:
    *_, inwards = rules([])
    assert "--dst-group" in inwards and "RELATED,ESTABLISHED,DNAT" in inwards


def test_other_nodes_come_in_where_routing_is_native() -> None:
    added = set(rules([], routed=True)) - set(rules([]))
    assert ["--mark 0x500/0xf00" in rule and "--dst-group" in rule for rule in added] == [True]


def test_rules_of_the_user_are_told_from_ours_and_dockers() -> None:
    block = "-A DOCKER-USER -s 203.0.113.0/24 -j DROP"
    assert foreign_rules([USER[0], block, *OWN, USER[1]]) == (block,)
