"""System settings: what each is now, what it is without anybody's doing, and changing one."""

from admin.console import Family
from admin.layout.view import render
from admin.page import Page
from admin.visit import Reply, Visit
from novapay.config.v1 import config_service_pb2 as config


class Settings(Page):
    """All settings on one page."""

    path = "/admin/settings"
    rpc = "ConfigService.ListSystemConfigs"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """The table."""
        answer = await visit.call(self.rpc, config.ListSystemConfigsRequest())
        return render(visit, "operator/settings.html", configs=answer.configs)

    async def do_change(self, visit: Visit, **_params: str) -> Reply:
        """One setting."""
        key = visit.form.get("key", "")
        change = config.SystemConfigChange(key=key, value=visit.form.trimmed("value"))
        await visit.call(
            "ConfigService.UpdateSystemConfigs",
            config.UpdateSystemConfigsRequest(configs=[change]),
        )
        return visit.redirect(self.path, "settings.changed", key=key)


FAMILY = Family("settings", "system", (Settings,))
