"""`orders`, with `order_line_items` and `order_line_item_options`: what people bought.

An order changes after its creation, and Ometria documents no way to ask for changes: every run reads them all.
Certainty: nothing of the reading side is documented by Ometria. Columns marked with a client are those that a public
reader of this endpoint knows; those marked with Fivetran are in its published schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dlt.common.schema.typing import TTableSchemaColumns
from dlt.extract import DltResource

from ometria_source.api.client import Account, JsonObject, OmetriaClient
from ometria_source.api.offset_scan import scan
from ometria_source.privacy.rules import TablePrivacy
from ometria_source.sync.snapshot import mirror
from ometria_source.sync.spec import RecordTable

PATH = "/orders"

ADDRESS = {
    "city": "City",
    "state": "State or county",
    "postcode": "Postcode",
    "country_code": "Country code",
}


def _address(kind: str) -> TTableSchemaColumns:
    return {
        f"{kind}_address__{part}": {"data_type": "text", "description": f"{words} of the {kind} address (a client)."}
        for part, words in ADDRESS.items()
    }


def _order_totals(currency: str, meaning: str) -> TTableSchemaColumns:
    """The amounts of an order in one of its two currencies (Ometria docs: Order API)."""
    amounts = {
        "subtotal": "Goods before discount, shipping and tax",
        "discount": "Discount",
        "shipping": "Shipping",
        "tax": "Tax",
        "grand_total": "What was paid",
    }
    return {
        f"totals__{currency}__currency": {"data_type": "text", "description": f"{meaning}."},
        **{
            f"totals__{currency}__{name}": {"data_type": "double", "description": f"{words}, in that currency."}
            for name, words in amounts.items()
        },
    }


def _line_totals(currency: str, meaning: str) -> TTableSchemaColumns:
    amounts = ("unit_price", "subtotal", "discount", "tax", "total", "refunded")
    return {
        f"totals__{currency}__currency": {"data_type": "text", "description": f"{meaning} (a client)."},
        **{
            f"totals__{currency}__{name}": {"data_type": "double", "description": f"`{name}` in that currency."}
            for name in amounts
        },
    }


BASE, LOCAL = "The account's reporting currency", "The currency of the sale"

COLUMNS: TTableSchemaColumns = {
    "order_id": {"data_type": "text", "nullable": False, "description": "The retailer's id of this order."},
    "timestamp": {"data_type": "timestamp", "description": "When it was placed (UTC); not when it changed (a client)."},
    "status": {"data_type": "text", "description": "The retailer's own word (a client)."},
    "is_valid": {"data_type": "bool", "description": "False: it does not count as revenue (Ometria docs: Push API)."},
    "customer__id": {
        "data_type": "text",
        "description": "The retailer's id of the customer, as `profiles.customer_id`; null for a sale to nobody known "
        "(Ometria docs: Order API).",
    },
    "customer__email": {"data_type": "text", "description": "Address of the customer (Ometria docs: Order API)."},
    "customer__firstname": {"data_type": "text", "description": "First name of the customer (a client)."},
    "customer__lastname": {"data_type": "text", "description": "Last name of the customer (a client)."},
    "currency": {"data_type": "text", "description": "Currency of the amounts beside it (a client)."},
    "subtotal": {"data_type": "double", "description": "Goods before discount, shipping and tax (a client)."},
    "discount": {"data_type": "double", "description": "Discount; one client spells the field `@discount`."},
    "shipping": {"data_type": "double", "description": "Shipping (a client)."},
    "tax": {"data_type": "double", "description": "Tax (a client)."},
    "grand_total": {"data_type": "double", "description": "What was paid (a client)."},
    "total_refunded": {"data_type": "double", "description": "What was paid back (Fivetran)."},
    "total_unit_quantity": {"data_type": "double", "description": "Units sold (Fivetran)."},
    "total_unit_quantity_refunded": {"data_type": "double", "description": "Units given back (Fivetran)."},
    **_order_totals("base", BASE),
    **_order_totals("local", LOCAL),
    "web_id": {"data_type": "text", "description": "Id shown to the customer (a client)."},
    "channel": {"data_type": "text", "description": "Channel of the sale (a client)."},
    "store": {"data_type": "text", "description": "Store of the sale (a client)."},
    "ip_address": {"data_type": "text", "description": "Address of the customer's device (a client)."},
    "coupon_code": {"data_type": "text", "description": "Code of a coupon (a client)."},
    "payment_method": {"data_type": "text", "description": "Method of payment (a client)."},
    "shipping_method": {"data_type": "text", "description": "Method of shipping (a client)."},
    **_address("shipping"),
    **_address("billing"),
    "properties": {"data_type": "json", "description": "The retailer's own fields (a client)."},
}

LINE_ITEM_COLUMNS: TTableSchemaColumns = {
    "order_id": {"data_type": "text", "nullable": False, "description": "The order."},
    "line_number": {
        "data_type": "bigint",
        "nullable": False,
        "description": "Place in the order, from 1: Ometria gives line items no id.",
    },
    "product_id": {"data_type": "text", "description": "The product (a client)."},
    "variant_id": {"data_type": "text", "description": "The product that is its variant (a client)."},
    "sku": {"data_type": "text", "description": "Stock keeping unit (a client)."},
    "quantity": {"data_type": "double", "description": "Units (a client)."},
    "unit_price": {"data_type": "double", "description": "Price of one (a client)."},
    "subtotal": {"data_type": "double", "description": "Before discount and tax (a client)."},
    "discount": {"data_type": "double", "description": "Discount (a client)."},
    "tax": {"data_type": "double", "description": "Tax (a client)."},
    "total": {"data_type": "double", "description": "What was paid (a client)."},
    "refunded": {"data_type": "double", "description": "What was paid back (a client)."},
    "quantity_refunded": {"data_type": "double", "description": "Units given back (a client)."},
    "is_on_sale": {"data_type": "bool", "description": "Whether it was reduced (a client)."},
    **_line_totals("base", BASE),
    **_line_totals("local", LOCAL),
    "properties": {"data_type": "json", "description": "The retailer's own fields (a client)."},
}

OPTION_COLUMNS: TTableSchemaColumns = {
    "order_id": {"data_type": "text", "nullable": False, "description": "The order."},
    "line_number": {"data_type": "bigint", "nullable": False, "description": "The line item in that order."},
    "option_number": {"data_type": "bigint", "nullable": False, "description": "Place in the line item, from 1."},
    "id": {"data_type": "text", "description": "Id of the option; not unique (a client)."},
    "type": {"data_type": "text", "description": "What it says something of, such as a size (a client)."},
    "label": {"data_type": "text", "description": "Its value in words (a client)."},
}

OPTIONS = RecordTable(
    name="order_line_item_options",
    key=("order_id", "line_number", "option_number"),
    columns=OPTION_COLUMNS,
    references=[
        {
            "referenced_table": "order_line_items",
            "columns": ["order_id", "line_number"],
            "referenced_columns": ["order_id", "line_number"],
        }
    ],
    nested_in="variant_options",
    number="option_number",
)

LINE_ITEMS = RecordTable(
    name="order_line_items",
    key=("order_id", "line_number"),
    columns=LINE_ITEM_COLUMNS,
    references=[
        {"referenced_table": "orders", "columns": ["order_id"], "referenced_columns": ["order_id"]},
        {"referenced_table": "products", "columns": ["product_id"], "referenced_columns": ["product_id"]},
    ],
    nested_in="lineitems",
    number="line_number",
    children=(OPTIONS,),
)

ORDERS = RecordTable(
    name="orders",
    key=("order_id",),
    columns=COLUMNS,
    renames={"id": "order_id"},
    references=[
        {"referenced_table": "profiles", "columns": ["customer__id"], "referenced_columns": ["customer_id"]},
    ],
    children=(LINE_ITEMS,),
)


def orders_resource(account: Account, allow_deletes: bool, privacy: Callable[[str], TablePrivacy]) -> DltResource:
    """The `orders` table, with `order_line_items` and `order_line_item_options`.

    Args:
        account: Where to read.
        allow_deletes: Whether a scan may remove more than a tenth of the orders.
        privacy: What is hashed and dropped, by table.
    """
    return mirror(ORDERS, _pages, account, allow_deletes, privacy)


def _pages(client: OmetriaClient) -> Iterator[list[JsonObject]]:
    # limit and offset: seen in public clients
    yield from scan(client, PATH)
