"""`products`, with `product_listings` and `product_attributes`: what the retailer sells, variants included.

Certainty: `limit`, `offset` and `includeVariants` are documented (Ometria docs: products reference, Product variants),
and so is that a listing overrides the product's fields in one store. The fields are those that public clients read and
write; those marked with Fivetran are in its published schema.
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

PATH = "/products"

# Without it, parents may be all that comes back (Ometria docs: Product variants).
WITH_VARIANTS = {"includeVariants": "true"}

COLUMNS: TTableSchemaColumns = {
    "product_id": {"data_type": "text", "nullable": False, "description": "The retailer's id of this product."},
    "sku": {"data_type": "text", "description": "Stock keeping unit."},
    "title": {"data_type": "text", "description": "Title."},
    "url": {"data_type": "text", "description": "Its page."},
    "image_url": {"data_type": "text", "description": "Its picture."},
    "price": {"data_type": "double", "description": "Price."},
    "currency": {"data_type": "text", "description": "Currency of the price."},
    "is_active": {
        "data_type": "bool",
        "description": "Whether it is sold; false holds for every store, else its listing decides (Ometria docs: "
        "Product API).",
    },
    "is_in_stock": {"data_type": "bool", "description": "Whether it is in stock."},
    "is_variant": {"data_type": "bool", "description": "Whether it is a variant of another product."},
    "special_price": {"data_type": "double", "description": "Reduced price."},
    "special_price_dt_from": {"data_type": "timestamp", "description": "From when on it is reduced (UTC)."},
    "special_price_dt_to": {"data_type": "timestamp", "description": "Until when it is reduced (UTC)."},
    "stores": {"data_type": "json", "description": "List of its stores (Fivetran)."},
    "properties": {"data_type": "json", "description": "The retailer's own fields."},
}

LISTING_COLUMNS: TTableSchemaColumns = {
    "product_id": {"data_type": "text", "nullable": False, "description": "The product; only parents have listings."},
    "store": {"data_type": "text", "nullable": False, "description": "The store; empty where none is named."},
    "title": {"data_type": "text", "description": "Title there."},
    "price": {"data_type": "double", "description": "Price there."},
    "currency": {"data_type": "text", "description": "Currency of that price."},
    "is_active": {"data_type": "bool", "description": "Whether it is sold there."},
    "special_price": {"data_type": "double", "description": "Reduced price there."},
    "url": {"data_type": "text", "description": "Its page there."},
    "image_url": {"data_type": "text", "description": "Its picture there."},
}

ATTRIBUTE_COLUMNS: TTableSchemaColumns = {
    "product_id": {"data_type": "text", "nullable": False, "description": "The product."},
    "type": {"data_type": "text", "nullable": False, "description": "What it is, such as `brand`; may be empty."},
    "id": {"data_type": "text", "nullable": False, "description": "Id of the attribute within its type; may be empty."},
    "label": {"data_type": "text", "description": "Its value in words."},
}

_PRODUCT = {"referenced_table": "products", "columns": ["product_id"], "referenced_columns": ["product_id"]}

PRODUCTS = RecordTable(
    name="products",
    key=("product_id",),
    columns=COLUMNS,
    renames={"id": "product_id"},
    children=(
        RecordTable(
            name="product_listings",
            key=("product_id", "store"),
            columns=LISTING_COLUMNS,
            references=[_PRODUCT],  # type: ignore[list-item]
            nested_in="listings",
        ),
        RecordTable(
            name="product_attributes",
            key=("product_id", "type", "id"),
            columns=ATTRIBUTE_COLUMNS,
            references=[_PRODUCT],  # type: ignore[list-item]
            nested_in="attributes",
        ),
    ),
)


def products_resource(account: Account, allow_deletes: bool, privacy: Callable[[str], TablePrivacy]) -> DltResource:
    """The `products` table, with `product_listings` and `product_attributes`.

    Args:
        account: Where to read.
        allow_deletes: Whether a scan may remove more than a tenth of the products.
        privacy: What is hashed and dropped, by table.
    """
    return mirror(PRODUCTS, _pages, account, allow_deletes, privacy)


def _pages(client: OmetriaClient) -> Iterator[list[JsonObject]]:
    yield from scan(client, PATH, WITH_VARIANTS)
