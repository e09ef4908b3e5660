from __future__ import annotations

from postgast.pg_query_pb2 import DESCRIPTOR, Node

from vestibule.analysis.sql.actions import ACTIONS
from vestibule.analysis.sql.functions import SYNTAX
from vestibule.analysis.sql.visit import PLAIN

#: Nodes that the server makes after parsing, or that stand only inside others.
_NEVER_PARSED = (
    "Aggref Alias AlternativeSubPlan ArrayCoerceExpr ArrayExpr CallContext CaseTestExpr CoerceToDomain "
    "CoerceToDomainValue CoerceViaIO CollateExpr ConvertRowtypeExpr DistinctExpr FieldSelect FieldStore FromExpr "
    "FuncExpr InferenceElem InlineCodeBlock IntList IntoClause JsonAggConstructor JsonConstructorExpr JsonExpr "
    "JsonTablePath JsonTablePathScan JsonTableSiblingJoin MergeAction NextValueExpr NullIfExpr OidList "
    "OnConflictExpr OpExpr PLAssignStmt Param Query RTEPermissionInfo RangeTblEntry RangeTblFunction RangeTblRef "
    "RawStmt RelabelType ReturningExpr RowCompareExpr RowMarkClause ScalarArrayOpExpr SetOperationStmt "
    "SortGroupClause SubPlan SubscriptingRef TableFunc TableSampleClause TargetEntry Var WindowClause WindowFunc "
    "WindowFuncRunCondition WithCheckOption"
)
NEVER_PARSED = frozenset(_NEVER_PARSED.split())


def names() -> set[str]:
    return {field.message_type.name for field in Node.DESCRIPTOR.fields}


def test_every_node_of_the_grammar_has_an_action_is_plain_or_is_never_parsed() -> None:
    assert names() - set(ACTIONS) - PLAIN == NEVER_PARSED


def test_no_node_is_listed_twice_or_is_none_of_the_grammars() -> None:
    nodes = {name for name in ACTIONS if name[0] <= "Z"}

    assert nodes & PLAIN == set()
    assert nodes - names() == set()
    assert set(SYNTAX) <= nodes


def test_an_action_on_a_field_is_on_a_field_that_the_grammar_has() -> None:
    fields = {field.json_name for message in DESCRIPTOR.message_types_by_name.values() for field in message.fields}

    assert {name for name in ACTIONS if name[0] > "Z"} <= fields


def test_a_leaf_holds_nothing_that_could_do_anything() -> None:
    harmless = {
        "String",
        "Integer",
        "Float",
        "Boolean",
        "BitString",
        "List",
        "A_Const",
        "TypeName",
        "FunctionParameter",
    }
    leaves = [
        name for name, action in ACTIONS.items() if action is None and name[0] <= "Z" and name != "VariableSetStmt"
    ]

    for name in leaves:
        for field in DESCRIPTOR.message_types_by_name[name].fields:
            # A list of names, types or arguments; anything else would hide a node.
            assert (
                field.message_type is None
                or field.message_type.name in harmless
                or field.name
                in (
                    "objname",
                    "objargs",
                    "objfuncargs",
                    "cols",
                    "xpr",
                )
            ), f"{name}.{field.name}"
