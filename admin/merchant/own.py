"""The merchant that the session is about."""

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from admin.visit import Visit
from novapay.merchants.v1 import merchant_service_pb2 as merchants


async def own_merchant(visit: Visit) -> Any:
    """The viewer's merchant."""
    answer = await visit.call(
        "MerchantService.GetMerchant", merchants.GetMerchantRequest(id=own_code(visit))
    )
    return answer.merchant


async def changed(visit: Visit, **fields: Any) -> Any:
    """The viewer's merchant with these fields changed; an empty text clears one."""
    answer = await visit.call(
        "MerchantService.UpdateMerchant",
        merchants.UpdateMerchantRequest(
            id=own_code(visit), update_mask=FieldMask(paths=list(fields)), **fields
        ),
    )
    return answer.merchant


def own_code(visit: Visit) -> str:
    """The code of the viewer's merchant."""
    assert visit.viewer is not None
    code: str = visit.viewer.session.staff.merchant_code
    return code
